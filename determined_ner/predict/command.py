"""Tag text with a trained model, in a stream of any length.

    python3 ner_predict.py MODEL_DIR INPUT [--output FILE] [--backend torch|onnx] [--format text|conll|jsonl]

INPUT is a file (also ``.gz``, ``.xz``, ``.bz2``, ``.zst``) or ``-``. What is written depends on what is read:

text    one text a line → one JSON object a line: its text and ``predicted_entities``, each with type, text, start and
        end in characters, score
conll   columns, a word a line → all lines as they stand, those of words with the tag as one more column
jsonl   objects → the same with ``predicted_entities`` (where the text is a string) or ``predicted_tags`` (a list of
        words)
"""

from __future__ import annotations

import argparse
import errno
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING

from determined_ner.errors import UserError

if TYPE_CHECKING:
    from determined_ner.tagging.tagger import Tagger

_REPORT_SECONDS = 30.0


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line of ``ner_predict.py``."""
    parser = argparse.ArgumentParser(
        prog="ner_predict.py",
        description="Tag text with a trained model: plain text (one text a line) to entities with their places, CoNLL "
        "columns and lists of words to tags.",
    )
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="runs/NAME/model, or an export of it")
    parser.add_argument("input", metavar="INPUT", help="file to tag, packed (.gz …) or not; - is standard input")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="written whole or not at all (default: standard output)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an --output that exists")
    parser.add_argument(
        "--format",
        choices=("text", "conll", "jsonl"),
        help="what INPUT is (default: by its name: .txt and standard input are text, .jsonl and .ndjson JSON Lines, "
        "else CoNLL columns)",
    )
    parser.add_argument("--text-column", metavar="NAME", help="key or column of the text or the words (default: found)")
    parser.add_argument(
        "--label-column", metavar="NAME", help="column of tags that stand in a CoNLL file already (default: found)"
    )
    parser.add_argument("--backend", choices=("torch", "onnx"), default="torch", help="what runs the model")
    parser.add_argument(
        "--onnx-file", metavar="NAME", help="ONNX file of MODEL_DIR, such as model_quantized.onnx (default: model.onnx)"
    )
    parser.add_argument(
        "--unconstrained",
        action="store_true",
        help="give each word its most probable tag by itself (default: the most probable tags that the scheme allows "
        "together: no I-PER after O)",
    )
    return parser.parse_args(argv)


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
        self._bar.set_postfix_str(self._told())
        now = time.perf_counter()
        if self._bar.disable and now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            print(self._told(), file=sys.stderr, flush=True)

    def _told(self) -> str:
        seconds = max(time.perf_counter() - self._started, 1e-9)
        share = self._share()
        done = "" if share is None else f"{share:.0%}, "
        return f"{done}{self._texts:,} texts, {self._words:,} words, {self._words / seconds:,.0f} words/s"

    def close(self, to: str) -> None:
        self._share = lambda: None
        seconds = time.perf_counter() - self._started
        self._bar.close()
        print(f"{self._told()}, {seconds:.1f} s: {to}", file=sys.stderr)


def predict(arguments: argparse.Namespace) -> None:
    """Read, tag, write.

    Raises:
        UserError: whatever is wrong with the input, the output or the model directory.
    """
    from determined_ner.predict.inputs import check_output, open_input, whole_or_nothing

    if arguments.onnx_file and arguments.backend != "onnx":
        raise UserError(f"--onnx-file: {arguments.onnx_file!r} is for --backend onnx: add that, or drop it")
    if arguments.output:
        check_output(arguments.output, arguments.overwrite)  # before the model is loaded, and again when it is written
    columns = (arguments.text_column, arguments.label_column)
    with open_input(arguments.input, arguments.format, *columns) as (format_, items, share):
        tagger = _load(arguments)
        from determined_ner.tagging.tagger import in_buffers

        print(
            f"{arguments.input}: read as {format_}; {len(tagger.labels)} labels, {tagger.scheme.value}", file=sys.stderr
        )
        output: AbstractContextManager[IO[str]] = nullcontext(sys.stdout)
        if arguments.output:
            output = whole_or_nothing(arguments.output, arguments.overwrite)
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
        arguments.model_dir, arguments.backend, constrained=not arguments.unconstrained, **onnx_file
    )


def main(argv: list[str] | None = None) -> int:
    """Tag, as the command line says.

    Returns:
        exit status: 0; 2 after a mistake of the user, told in one message; 130 when interrupted.
    """
    arguments = parse_arguments(argv)
    try:
        predict(arguments)
    except UserError as error:
        message = str(error)
        for option in ("text", "label"):
            message = message.replace(f"data.{option}_column_name", f"--{option}-column")
        print(f"error: {message}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        print(f"error: {error}; make room or rights, then run it again", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted" + ("; no output is left" if arguments.output else ""), file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE") and "--output" not in sys.argv:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end quietly, as filters do, when `head` has had enough
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # what is read is UTF-8, whatever the terminal's locale
    sys.exit(main())
