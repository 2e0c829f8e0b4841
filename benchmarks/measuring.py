"""What both sides of the comparison are measured with."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

BEGAN = time.perf_counter()

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch

from determined_ner.data.corpus import Corpus, load_corpus
from determined_ner.data.pretrained_tokenizer import load_tokenizer
from determined_ner.data.tokenizer import WordTokenizer
from determined_ner.data.windows import window_size
from determined_ner.hub import Pretrained
from determined_ner.model.build import build_model, load_config, longest_window
from determined_ner.settings.data import DataSettings
from determined_ner.settings.hyperparameters import Hyperparameters

KINDS = {
    "matrix products": (
        "mm",
        "addmm",
        "bmm",
        "baddbmm",
        "mkldnn_linear",
        "mkldnn::_linear_pointwise",
        "_scaled_dot_product_flash_attention_for_cpu",
    ),
    "dropout masks": ("bernoulli_", "ge_"),
    "optimizer and clipping": ("_fused_adamw_", "linalg_vector_norm", "_foreach_norm", "_foreach_mul_"),
    "copies and casts": ("copy_", "_to_copy", "clone", "contiguous"),
    "zeroing": ("fill_", "zero_"),
    "gathering": ("index_select", "cat"),
    "activation": ("gelu", "gelu_backward"),
    "softmax": ("_softmax", "_softmax_backward_data"),
    "layer norm": ("native_layer_norm", "native_layer_norm_backward"),
    "element-wise": ("mul", "mul_", "add", "add_", "div", "div_", "sum", "where"),
}
"""Operators of a step by what they are for; the rest is "other"."""


class Loaded(NamedTuple):
    corpus: Corpus
    tokenizer: WordTokenizer
    model: Any
    weights: int


def load(spec: dict[str, Any]) -> Loaded:
    """The corpus and a new model, as our trial has them."""
    hparams = Hyperparameters(
        pretrained_model_name_or_path=spec["encoder"],
        config_name=spec["config"],
        use_pretrained_weights=spec["config"] is None,
    )
    tokenizer = load_tokenizer(Pretrained.of_setting(hparams, "tokenizer_name"))
    data = DataSettings(
        train_file=spec["train"],
        validation_file=spec["validation"],
        max_train_samples=spec["train_samples"],
        max_eval_samples=spec["eval_samples"],
    )
    source = Pretrained.of_setting(hparams, "config_name")
    config = load_config(source)
    limit = longest_window(config, source, tokenizer.stated_limit(source))
    corpus = load_corpus(data, "ner", tokenizer, window_size(None, limit), Path(spec["cache"]))
    model = build_model(config, hparams, corpus.labels.names, spec["seed"])
    return Loaded(corpus, tokenizer, model, encoder_weights(model))


def encoder_weights(model: Any) -> int:
    """Weights that every piece is multiplied with: those of the linear layers."""
    return sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))


class Measured:
    """Seconds of training (evaluation and checkpoints left out), what was trained in them, and who else was at work."""

    def __init__(self) -> None:
        self.running = False
        self.seconds = self.inside_seconds = self.evaluation_seconds = 0.0
        self.processor_seconds = self.others = 0.0
        self.samples = self.real = self.padded = self.evaluation_samples = 0
        self.start_up: float | None = None
        self._mask: Callable[[Any], Any] = lambda batch: batch
        self._started = 0.0
        self._busy = (0.0, 0.0)

    def padding_of(self, mask: Callable[[Any], Any]) -> None:
        self._mask = mask

    def begin(self) -> None:
        self.running = True
        self._busy = _busy()
        self._started = time.perf_counter()

    def end(self) -> None:
        seconds = time.perf_counter() - self._started
        machine, own = (after - before for after, before in zip(_busy(), self._busy, strict=True))
        self.seconds += seconds
        self.processor_seconds += own
        self.others += max(0.0, machine - own)
        self.running = False

    def first_step(self) -> None:
        if self.start_up is None:
            self.start_up = time.perf_counter() - BEGAN

    def inside(self, seconds: float) -> None:
        self.inside_seconds += seconds

    def count(self, batch: Any, padded: bool = True) -> None:
        """
        Args:
            padded: what is trained is the batch as it is; False: its tokens alone (attention aside, and what fills
                them up to one of few sizes).
        """
        mask = self._mask(batch)
        self.samples += len(mask)
        self.real += int(mask.sum())
        self.padded += mask.numel() if padded else int(mask.sum())

    def evaluated(self, samples: int, seconds: float) -> None:
        self.evaluation_samples += samples
        self.evaluation_seconds += seconds


def _busy() -> tuple[float, float]:
    """Processor seconds so far: of the whole machine, and of this process. Both 0 where /proc does not tell."""
    try:
        user, nice, system = (float(field) for field in Path("/proc/stat").read_text("ascii").split()[1:4])
    except OSError:
        return 0.0, 0.0
    own = os.times()
    return (user + nice + system) / os.sysconf("SC_CLK_TCK"), own.user + own.system


class Profile:
    """Operators of ten steps after a warm-up of five."""

    def __init__(self) -> None:
        self._steps = 0
        self._profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])

    def step(self) -> None:
        self._steps += 1
        if self._steps == 5:
            self._profiler.__enter__()
        elif self._steps == 15:
            self._profiler.__exit__(None, None, None)

    def shares(self) -> dict[str, float]:
        """Share of each kind of operator in the processor time of all."""
        kind_of = {name: kind for kind, names in KINDS.items() for name in names}
        seconds: dict[str, float] = {}
        for event in self._profiler.key_averages():
            kind = kind_of.get(event.key.removeprefix("aten::"), "other")
            seconds[kind] = seconds.get(kind, 0.0) + event.self_cpu_time_total
        total = sum(seconds.values())
        return {kind: round(value / total, 4) for kind, value in sorted(seconds.items(), key=lambda item: -item[1])}


def report(spec: dict[str, Any], measured: Measured, profile: Profile | None, f1: float, weights: int) -> None:
    """Print the result of one run as a line of JSON, the last of its standard output."""
    processors = torch.get_num_threads()
    result = {
        "samples_per_second": measured.samples / measured.seconds,
        "real_tokens_per_second": measured.real / measured.seconds,
        "padding": 1 - measured.real / measured.padded,
        "useful_gflops": 6e-9 * weights * measured.real / measured.seconds,
        "samples_per_processor_second": measured.samples / max(measured.processor_seconds, 1e-9),
        "train_seconds": measured.seconds,
        "share_in_train_batch": measured.inside_seconds / measured.seconds if measured.inside_seconds else None,
        "evaluation_samples_per_second": measured.evaluation_samples / measured.evaluation_seconds,
        "start_up_seconds": measured.start_up,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "f1": float(f1),
        "others_at_work": measured.others / (measured.seconds * processors),
        "profile": profile.shares() if profile else None,
    }
    print(json.dumps({**spec, **result}))
