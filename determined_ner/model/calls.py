"""Functions of PyTorch that are computed otherwise while a model runs: nothing in the model is replaced."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from torch.overrides import TorchFunctionMode

Functions = Mapping[Callable[..., Any], Callable[..., Any]]
"""For a function of PyTorch, such as one of ``torch.nn.functional``, what is called in its place."""


def replaced(functions: Functions) -> contextlib.AbstractContextManager[Any]:
    """A context in which other functions are called in the place of some, whatever module calls them.

    What they call themselves is PyTorch's own. Each call of PyTorch, the reading of a shape included, takes a
    microsecond longer in such a context, and two in one within another: all of a model are to be given to one.
    """
    return _Replaced(functions) if functions else contextlib.nullcontext()


class _Replaced(TorchFunctionMode):
    def __init__(self, functions: Functions) -> None:
        super().__init__()
        self._functions = functions

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        function = self._functions.get(func, func)
        return function(*args, **kwargs) if kwargs else function(*args)
