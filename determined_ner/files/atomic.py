"""A directory of results, whole or not there."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from determined_ner.errors import UserError


@contextlib.contextmanager
def directory_in_making(output: Path, check: Callable[[Path], None]) -> Iterator[Path]:
    """A directory beside ``output`` that takes its name, and the place of what was there, when all went well.

    Args:
        check: raises where what is there must stay; asked before and after.

    Raises:
        UserError: none can be written; and as ``check``.
    """
    check(output)
    partial = old = None
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{output.name}.partial-", dir=output.parent))
        yield partial
        partial.chmod(0o755)  # as mkdir does, not as mkdtemp
        check(output)
        if output.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{output.name}.old-", dir=output.parent))
            output.rename(old / output.name)
        partial.rename(output)
    except Exception as error:
        if not (isinstance(error, OSError) or type(error).__name__ == "SafetensorError"):  # which wraps the system's
            raise
        raise UserError(f"--output {output}: cannot be written: {error}; make room or rights") from error
    finally:
        if old is not None:
            if not output.exists() and (old / output.name).exists():
                (old / output.name).rename(output)
            shutil.rmtree(old, ignore_errors=True)
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
