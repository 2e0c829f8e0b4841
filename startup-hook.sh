#!/usr/bin/env bash
# Runs in the task's container before the trial: installs what the image lacks, from the pins, and nothing else.
# The image's torch (and its Apex) stay as they are. Quick when there is nothing to do.
set -euo pipefail

missing=$(python3 - <<'PYTHON'
import importlib.util
import sys

# import name: the pin for the image's Python 3.10 with torch 2.3, the pin elsewhere
pins = {
    "transformers": ("transformers==4.49.0", "transformers>=4.49,<6"),
    "datasets": ("datasets==3.6.0", "datasets>=3.6,<6"),
    "pydantic": ("pydantic>=2.8,<3", "pydantic>=2.8,<3"),
    "pyarrow": ("pyarrow>=15", "pyarrow>=15"),
    "filelock": ("filelock", "filelock"),
    "tqdm": ("tqdm", "tqdm"),
    "tensorboard": ("tensorboard", "tensorboard"),
}
if importlib.util.find_spec("torch") is None:
    sys.exit("startup-hook.sh: this image has no torch; choose one that has (environment.image), e.g. Determined's default")
from importlib.metadata import version

old = tuple(int(part) for part in version("torch").split("+")[0].split(".")[:2]) < (2, 5)
print(" ".join(pair[0] if old else pair[1] for name, pair in pins.items() if importlib.util.find_spec(name) is None))
PYTHON
)

if [ -n "$missing" ]; then
    torch=$(python3 -c "from importlib.metadata import version; print(version('torch').split('+')[0])")
    echo "startup-hook.sh: installing $missing"
    # shellcheck disable=SC2086  # words are meant to split
    python3 -m pip install --quiet --disable-pip-version-check --upgrade-strategy only-if-needed $missing || {
        echo "startup-hook.sh: could not install: $missing. Give the container a package index, or an image that has them." >&2
        exit 1
    }
    now=$(python3 -c "from importlib.metadata import version; print(version('torch').split('+')[0])")
    if [ "$now" != "$torch" ]; then
        echo "startup-hook.sh: torch changed from $torch to $now; pin the packages above to versions for $torch" >&2
        exit 1
    fi
fi
