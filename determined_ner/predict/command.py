"""Tag text with a trained model, in a stream of any length.

INPUT is a file (also ``.gz``, ``.xz``, ``.bz2``, ``.zst``) or ``-``. What is written depends on what is read:

text    one text a line → one JSON object a line: its text and ``predicted_entities``, each with type, text, start and
        end in characters, score
conll   columns, a word a line → all lines as they stand, those of words with the tag as one more column
jsonl   objects → the same with ``predicted_entities`` (where the text is a string) or ``predicted_tags`` (a list of
        words)
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import IO, TYPE_CHECKING

from determined_ner.errors import UserError
from determined_ner.files.atomic import atomic_file, check_output
from determined_ner.predict.inputs import open_input

if TYPE_CHECKING:
    from determined_ner.tagging.tagger import Tagger

_REPORT_SECONDS = 30.0


class _Progress:
    """Texts, words and words/s: a bar on a terminal, a line now and then elsewhere, a line at the end."""

    def __init__(self, share: Callable[[], float | None]) -> None:
        from tqdm import tqdm

        self._share = share
        self._texts = self._words = 0
        self._started = self._reported = time.perf_counter()
        self._bar = tqdm(
            bar_format="{desc}{postfix}", desc="tagging", leave=False, disable=None, file=sys.stderr, dynamic_ncols=True
        )

    def add(self, texts: int, words: int) -> None:
        self._texts += texts
        self._words += words
        self._bar.set_postfix_str(self._describe())
        now = time.perf_counter()
        if self._bar.disable and now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            print(self._describe(), file=sys.stderr, flush=True)

    def _describe(self) -> str:
        seconds = max(time.perf_counter() - self._started, 1e-9)
        share = self._share()
        done = "" if share is None else f"{share:.0%}, "
        return f"{done}{self._texts:,} texts, {self._words:,} words, {self._words / seconds:,.0f} words/s"

    def close(self, to: str) -> None:
        self._share = lambda: None
        seconds = time.perf_counter() - self._started
        self._bar.close()
        print(f"{self._describe()}, {seconds:.1f} s: {to}", file=sys.stderr)


def run(arguments: argparse.Namespace) -> None:
    """Read, tag, write.

    Raises:
        UserError: whatever is wrong with the input, the output or the model directory.
    """
    if hasattr(signal, "SIGPIPE") and not arguments.output:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end quietly, as filters do, when `head` has had enough
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # what is read is UTF-8, whatever the terminal's locale
    if arguments.onnx_file and arguments.backend != "onnx":
        raise UserError("--onnx-file", f"{arguments.onnx_file!r} is for --backend onnx", "add that, or drop it")
    if arguments.output:
        check_output(arguments.output, arguments.overwrite)  # before the model is loaded, and again when it is written
    columns = (arguments.text_column, arguments.label_column)
    with open_input(arguments.input, arguments.format, *columns) as (format_, items, share):
        from determined_ner.tagging.tagger import in_buffers  # takes seconds, and a mistyped path need not wait for it

        tagger = _load(arguments)
        print(
            f"{arguments.input}: read as {format_}; {len(tagger.labels)} labels, {tagger.scheme.value}", file=sys.stderr
        )
        output: AbstractContextManager[IO[str]] = nullcontext(sys.stdout)
        if arguments.output:
            output = atomic_file(arguments.output, arguments.overwrite)
        progress = _Progress(share)
        document = (lambda item: item.document) if tagger.whole_documents else None
        with output as file:
            for buffer in in_buffers(items, lambda item: len(item.words), document):
                tagged = tagger.tag([item.words for item in buffer], [item.document for item in buffer])
                file.write("".join(item.written(tagged, i) for i, item in enumerate(buffer)))
                file.flush()
                progress.add(len(buffer), len(tagged.ids))
        progress.close(str(arguments.output or "standard output"))


def _load(arguments: argparse.Namespace) -> Tagger:
    from determined_ner.tagging.tagger import Tagger

    onnx_file = {"onnx_file": arguments.onnx_file} if arguments.onnx_file else {}
    return Tagger.from_pretrained(
        arguments.model_dir,
        arguments.backend,
        constrained=not arguments.unconstrained,
        trust_remote_code=arguments.trust_remote_code,
        **onnx_file,
    )
