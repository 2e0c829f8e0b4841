"""How the windows of a training count in its loss."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class WindowLosses:
    """How the words of W windows count in the loss."""

    weights: NDArray[np.float32] | None
    """(W,) of the words of each window, of mean 1 over the labelled pieces of all; None: each counts 1."""
    open_labels: NDArray[np.int64]
    """(W,) 0: a label is what it says; g: what is O there may be any of the labels in row g - 1 of ``possible``."""
    possible: NDArray[np.bool_]
    """(G, K)."""
    outside: int
    """Id of O; -1 where no corpus is partly labelled."""

    def followed_by(self, windows: int) -> WindowLosses:
        """The same with so many windows more, which count 1 each and have no labels."""
        weights = None if self.weights is None else np.append(self.weights, np.ones(windows, np.float32))
        return replace(self, weights=weights, open_labels=np.append(self.open_labels, np.zeros(windows, np.int64)))
