"""The command ``determined-ner predict``: tag a stream of any length with a trained model.

INPUT is a file, packed (``.gz``, ``.xz``, ``.bz2``, ``.zst``) or not, or ``-``. The output depends on its format:

text    one text a line → one JSON object a line: the text and ``predicted_entities``, each with type, text, start and
        end in characters, and score
conll   columns, one word a line → the same lines, those of words with the tag as one more column
jsonl   objects → the same with ``predicted_entities`` (if the text is a string) or ``predicted_tags`` (if it is a list
        of words)

With ``--to`` it is what an annotation tool imports, or words and tags, whatever INPUT is (`data.writers`).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING

from determined_ner.data.writers.open import check_target, open_output
from determined_ner.errors import DeviceError, UserError, standard_output
from determined_ner.files.atomic import atomic_file
from determined_ner.masks import printable
from determined_ner.predict.inputs import open_input
from determined_ner.tags.schemes import split_tag

if TYPE_CHECKING:
    from determined_ner.predict.inputs import Item
    from determined_ner.tagging.tagged import Tagged
    from determined_ner.tagging.tagger import Tagger
    from determined_ner.tags.shift import Shift

_REPORT_SECONDS = 30.0
"""Between two lines of progress where there is no terminal."""


class _Progress:
    """Shows texts, words and words/s: a bar on a terminal, a line now and then elsewhere, a line at the end."""

    def __init__(self, share: Callable[[], float | None]) -> None:
        """
        Args:
            share: gives the share of the input that was read so far, None where that is unknown.
        """
        from tqdm import tqdm

        self._share = share
        self._texts = self._words = self._cut_words = 0
        self.withheld = self.given = 0
        self._started = self._reported = time.perf_counter()
        self._bar = tqdm(
            bar_format="{desc}{postfix}", desc="tagging", leave=False, disable=None, file=sys.stderr, dynamic_ncols=True
        )

    def add_texts(self, tagged: Tagged) -> None:
        """These texts have been written."""
        self._texts += len(tagged.starts) - 1
        self._cut_words += tagged.cut_words
        self.withheld += tagged.withheld
        self.given += len(tagged.entities.begin)

    def add_words(self, count: int) -> None:
        """So many more have been tagged."""
        self._words += count
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
        """Print the last line.

        Args:
            to: where the output is.
        """
        self._share = lambda: None
        seconds = time.perf_counter() - self._started
        self._bar.close()
        print(printable(f"{self._describe()}, {seconds:.1f} s: {to}"), file=sys.stderr)
        if self._cut_words:
            print(f"words longer than a window were read by their beginning: {self._cut_words:,}", file=sys.stderr)


def run(arguments: argparse.Namespace) -> None:
    """Read, tag, write.

    Args:
        arguments: as `determined_ner.cli` parses them.

    Raises:
        UserError: something is wrong with the input, the output or the model directory.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # as the input is, whatever the terminal's locale
    if arguments.onnx_file and arguments.backend != "onnx":
        raise UserError(
            "--onnx-file", f"{arguments.onnx_file!r} needs --backend onnx", "add that, or leave the file out"
        )
    if arguments.precision is not None and arguments.unconstrained:
        problem = "is promised of tags that are decoded together"
        raise UserError(f"--precision {arguments.precision:g}", problem, "leave --unconstrained out")
    check_target(arguments.output, arguments.to, arguments.overwrite)  # before the model is loaded, and below again
    columns = (arguments.text_column, arguments.label_column)
    with open_input(arguments.input, arguments.format, *columns) as (format_, read_items, share):
        from determined_ner.tagging.tagger import in_buffers  # takes seconds, and a mistyped path need not wait for it
        from determined_ner.tags.shift import SeenScores

        tagger = _load_tagger(arguments)
        described = f"read as {format_}; {len(tagger.labels)} labels, {tagger.scheme.value}; {tagger.runs_on}"
        print(printable(f"{arguments.input}: {described}"), file=sys.stderr)
        progress = _Progress(share)
        seen = SeenScores(tagger.usual_scores) if tagger.usual_scores else None
        document = (lambda item: item.document) if tagger.whole_documents else None
        with _opened_output(arguments, tagger) as (write, remarks):
            for buffer in in_buffers(read_items(tagger.cut), lambda item: len(item.words), document):
                words, documents = [item.words for item in buffer], [item.document for item in buffer]
                tagged = tagger.tag(words, documents, progress.add_words)
                write(buffer, tagged)
                progress.add_texts(tagged)
                if seen:
                    seen.add(tagged.found_scores)
        progress.close(str(arguments.output or "standard output"))
        if arguments.precision is not None:
            given = f"precision {arguments.precision:g}: {progress.given:,} entities given"
            print(f"{given}, {progress.withheld:,} of lower scores withheld", file=sys.stderr)
        if seen and (shift := seen.shift).is_clear:
            print(printable(_describe(shift, arguments.model_dir)), file=sys.stderr)
        for remark in remarks():
            print(printable(remark), file=sys.stderr)


def _describe(shift: Shift, model_dir: Path) -> str:
    """What to make of a text that is of another kind."""
    means = f"its {shift.entities:,} entities have scores of {shift.mean:.2f} in the mean, {shift.usual_mean:.2f} there"
    distance = f"(distance {shift.distance:.2f}, {shift.by_chance:.2f} by chance)"
    return (
        f"the text is not like the validation data: {means} {distance}. Scores may be off, and promised precisions not "
        f"kept; label some of it, and see determined-ner report {model_dir} --data LABELLED"
    )


@contextmanager
def _opened_output(
    arguments: argparse.Namespace, tagger: Tagger
) -> Iterator[tuple[Callable[[list[Item], Tagged], None], Callable[[], list[str]]]]:
    """What writes the texts of a buffer with what was predicted for them, and what then remains to be said."""
    if arguments.to is None:
        file: AbstractContextManager[IO[str]] = (
            atomic_file(arguments.output, arguments.overwrite) if arguments.output else nullcontext(standard_output())
        )
        with file as stream:

            def write_lines(buffer: list[Item], tagged: Tagged) -> None:
                stream.write("".join(item.format_result(tagged, i) for i, item in enumerate(buffer)))
                stream.flush()

            yield write_lines, list
        return
    folder = arguments.model_dir.absolute()
    model = folder.parent.name if folder.name == "model" else folder.name  # runs/NAME/model
    types = [parts[1] if (parts := split_tag(label)) else label for label in tagger.labels if label != "O"]
    with open_output(arguments.output, arguments.to, arguments.overwrite, model, types) as output:

        def write_texts(buffer: list[Item], tagged: Tagged) -> None:
            for i, item in enumerate(buffer):
                if (text := item.labelled(tagged, i)) is not None:
                    output.write(text)
            output.flush()

        yield write_texts, output.writer.remarks


def _load_tagger(arguments: argparse.Namespace) -> Tagger:
    from determined_ner.tagging.tagger import Tagger

    onnx_file = {"onnx_file": arguments.onnx_file} if arguments.onnx_file else {}
    try:
        return Tagger.from_pretrained(
            arguments.model_dir,
            arguments.backend,
            device=arguments.device,
            constrained=not arguments.unconstrained,
            min_precision=arguments.precision,
            trust_remote_code=arguments.trust_remote_code,
            **onnx_file,
        )
    except DeviceError as error:
        raise UserError("--device", str(error), "name one of them, or leave it out") from error
