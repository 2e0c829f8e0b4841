# The "cluster" stack with ONNX Runtime training for GPUs (backend: ort), its extensions compiled in.
#
#   docker build --file docker/cluster-ort.Dockerfile --tag REGISTRY/determined-ner:cluster-ort .
#
# One CUDA, 11.8, for PyTorch and ONNX Runtime, as onnxruntime-training's wheel is built for; beside a torch of CUDA 12, as
# in Determined's default image, it takes a second set of libraries (startup-hook.sh). CUDA's libraries come with PyTorch's
# wheels, so only the stage that compiles is one with CUDA's toolkit.

FROM python:3.11-slim-bookworm AS package
WORKDIR /package
RUN python3 -m pip install --no-cache-dir hatchling==1.33.0
COPY pyproject.toml README.md LICENSE ner_trial.py ner_utils.py ner_config.yaml ./
COPY determined_ner ./determined_ner
RUN python3 -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheels .

FROM nvidia/cuda:11.8.0-devel-ubuntu22.04 AS stack
WORKDIR /stack
# Versions of a distribution's packages vanish from its archive as it is mended.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-dev python3-pip \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m pip install --no-cache-dir torch==2.3.1+cu118 --index-url https://download.pytorch.org/whl/cu118
COPY requirements/cluster.txt ./
# Determined by itself: it wants an older requests than datasets does; both work.
RUN python3 -m pip install --no-cache-dir determined==0.38.1 \
    && python3 -m pip install --no-cache-dir --requirement cluster.txt
# There is no GPU while an image is built, so for which GPUs has to be said: V100 to H100. A layer of its own, since it
# takes minutes.
# hadolint ignore=DL3059
RUN ONNXRUNTIME_FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST="7.0;7.5;8.0;8.6;8.9;9.0+PTX" MAX_JOBS=4 \
    python3 -m torch_ort.configure

FROM nvidia/cuda:11.8.0-base-ubuntu22.04
WORKDIR /workspace
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates g++ python3-dev python3-pip \
    && rm -rf /var/lib/apt/lists/*
COPY --from=stack /usr/local/bin /usr/local/bin
COPY --from=stack /usr/local/lib/python3.10/dist-packages /usr/local/lib/python3.10/dist-packages
COPY --from=package /package/wheels wheels
RUN python3 -m pip install --no-cache-dir --no-deps --no-index wheels/*.whl && rm -r wheels
# Determined runs a task as the user that its agent is told, whatever stands here; all may read what is installed.
RUN useradd --create-home --uid 1000 ner
USER 1000
ENV PYTHONUNBUFFERED=1
CMD ["python3", "-m", "determined_ner", "--help"]
