# The "current" stack: the newest PyTorch and transformers, with CUDA as PyTorch's wheels bring it.
#
#   docker build --file docker/current.Dockerfile --tag REGISTRY/determined-ner:current .

FROM python:3.11-slim-bookworm AS package
WORKDIR /package
RUN python3 -m pip install --no-cache-dir hatchling==1.33.0
COPY pyproject.toml README.md LICENSE ner_trial.py ner_utils.py ner_config.yaml ./
COPY determined_ner ./determined_ner
RUN python3 -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheels .

FROM python:3.11-slim-bookworm
WORKDIR /workspace
# torch.compile compiles with g++. Versions of a distribution's packages vanish from its archive as it is mended.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
COPY requirements/current.txt ./
RUN python3 -m pip install --no-cache-dir --requirement current.txt && rm current.txt
COPY --from=package /package/wheels wheels
RUN python3 -m pip install --no-cache-dir --no-deps --no-index wheels/*.whl && rm -r wheels
# Determined runs a task as the user that its agent is told, whatever stands here; all may read what is installed.
RUN useradd --create-home --uid 1000 ner
USER 1000
ENV PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
CMD ["python3", "-m", "determined_ner", "--help"]
