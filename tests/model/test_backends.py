"""Whole runs under each backend and precision: they train the same model and go on with each other's checkpoints."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
import transformers
from packaging.version import Version

import ner_trial
from determined_ner.data.split import IGNORED
from determined_ner.errors import UserError
from determined_ner.model import ort
from determined_ner.model.conditions import OLD_COMPILER
from determined_ner.model.engine import compile_model, graph_count
from determined_ner.model.onnx_session import OnnxSession
from determined_ner.training.metrics import TrainingMetrics
from tests.conftest import ROOT, final_state, read_metrics, without_times, write_config
from tests.forked import torchrun

pytestmark = pytest.mark.backend
if Version(torch.__version__) >= Version("2.4"):  # before, it hands out graphs of other shapes
    os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "1")


def has_ort() -> bool:
    with contextlib.suppress(UserError):
        ort.check_installation("cpu")
        return True
    return False


needs_ort = pytest.mark.skipif(not has_ort(), reason="no ONNX Runtime training here: make test-ort has it")
not_of_ort = pytest.mark.skipif(has_ort(), reason="nothing of ONNX Runtime in it: make test-slow has it")
BACKENDS = ["eager", "compile", *(["ort"] if has_ort() else [])]


def state_difference(left: dict, right: dict) -> float:
    """Largest absolute difference of two models' weights, whose names have to be the same."""
    ours, theirs = left["models_state_dict"][0], right["models_state_dict"][0]
    assert list(ours) == list(theirs)
    return max((ours[name] - theirs[name]).abs().max().item() for name in ours)


# -- The same training, whatever computes it ----------------------------------------------------------------------


@pytest.fixture
def still(tmp_path, tiny_encoder_without_dropout, corpus) -> Path:
    """A config whose training has no dropout: backends draw masks of their own.

    Random batches, which PyTorch as it is trains without padding, and the others padded.
    """
    same = {"lr_scheduler_type": "constant", "group_by_length": False}
    return write_config(tmp_path / "still.yaml", tiny_encoder_without_dropout, corpus, **same)


def runs_of(config: Path, tmp_path: Path, precision: str, accumulation: int) -> list[list]:
    """Six steps under each backend, and the second three of them under the next backend."""
    common = [str(config), "--config", f"hyperparameters.precision={precision}"]
    for override in (
        "hyperparameters.max_steps=6",
        f"optimizations.aggregation_frequency={accumulation}",
        f"min_checkpoint_period.batches={3 * accumulation}",
        f"min_validation_period.batches={6 * accumulation}",
        "checkpoint_storage.save_trial_latest=3",
    ):
        common += ["--config", override]
    ways = {backend: ["--config", f"hyperparameters.backend={backend}"] for backend in BACKENDS}
    if "ort" in ways:
        ways["ort-fused"] = [*ways["ort"], "--config", "hyperparameters.optim=adamw_ort_fused"]
    # (On a CPU, ONNX Runtime has no products in bf16; those in float16 it casts to float32.)
    if precision == "fp16":
        del ways["compile"]
    runs: list[list] = []
    for (name, way), following in zip(ways.items(), [*[*ways.values()][1:], ways["eager"]], strict=True):
        folder = tmp_path / f"{precision}-{accumulation}" / name
        runs.append([*common, *way, "--output-dir", str(folder)])
        mixed = str(folder) + "-mixed"
        runs.append(["copy", str(folder), mixed, 6 * accumulation])
        runs.append([*common, *following, "--output-dir", mixed, "--resume"])
    return runs


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=not_of_ort), "fp16"])
@pytest.mark.parametrize("processes", [1, 2])
def test_every_backend_trains_the_same_and_goes_on_with_the_checkpoint_of_another(
    tmp_path, still, processes, precision
):
    runs = [run for accumulation in (1, 4) for run in runs_of(still, tmp_path, precision, accumulation)]
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    done = subprocess.run(
        [*torchrun(processes), str(ROOT / "tests" / "model" / "backend_runs.py"), str(tmp_path / "runs.json")],
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for accumulation in (1, 4):
        folder = tmp_path / f"{precision}-{accumulation}"
        reference = final_state(folder / "eager")
        assert not any(name.startswith(("module.", "_orig_mod.")) for name in reference["models_state_dict"][0])
        # bf16 has 8 bits: one rounding the other way moves a weight by a share of a step of Adam.
        most = {"fp32": 1e-5, "bf16": 2e-3, "fp16": 2e-3}[precision]
        for run in sorted(folder.iterdir()):
            assert read_metrics(run, "training")[-1]["batches"] == 6 * accumulation
            assert state_difference(reference, final_state(run)) < most, run
            if precision == "fp16":
                assert final_state(run)["scaler_state_dict"]["_growth_tracker"] == 6, run


@pytest.mark.parametrize(
    ("architecture", "backend"),
    [
        pytest.param(architecture, backend, marks=needs_ort if backend == "ort" else pytest.mark.slow)
        for architecture in ("Bert", "DistilBert", "Roberta", "Electra")
        for backend in ("ort", "compile")
    ],
)
def test_loss_and_gradient_are_those_of_pytorch_at_every_shape(architecture, backend):
    if OLD_COMPILER and (architecture, backend) == ("Roberta", "compile"):
        pytest.skip("it is refused: this compiler computes it wrongly")
    if architecture == "DistilBert":
        sizes: dict = {
            "dim": 32,
            "hidden_dim": 64,
            "n_layers": 2,
            "n_heads": 2,
            "dropout": 0.0,
            "attention_dropout": 0.0,
        }
    else:
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        sizes |= dict.fromkeys(["hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"], 0.0)
    config = getattr(transformers, f"{architecture}Config")(vocab_size=50, max_position_embeddings=40, **sizes)
    models = []
    for computed in ("eager", backend):
        torch.manual_seed(0)
        attention = {"attn_implementation": "eager"} if computed == "ort" else {}
        model = transformers.AutoModelForTokenClassification.from_config(config, **attention).train()
        if computed == "compile":
            compile_model(model)
        models.append(ort.wrap(model) if computed == "ort" else model)
    graphs = graph_count()
    for rows, length in [(4, 9), (2, 17), (7, 5), (3, 30), (1, 8)]:
        ids = torch.randint(5, 50, (rows, length))
        mask = (torch.arange(length) < torch.randint(3, length + 1, (rows, 1))).long()
        labels = torch.randint(0, 2, (rows, length))
        losses = []
        for model in models:
            model.zero_grad()
            logits = model(input_ids=ids, attention_mask=mask).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
            loss.backward()
            losses.append(loss.item())
        assert losses[1] == pytest.approx(losses[0], rel=1e-6)
        for (name, ours), theirs in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
            if ours.grad is not None:
                assert (ours.grad - theirs.grad).abs().max() < 1e-5, name
    if backend == "compile":
        assert graph_count() - graphs <= 3  # one of symbolic shapes, one for a single row


def test_validation_by_onnx_runtime_gives_the_scores_of_pytorch(train, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "determined_ner.model.onnx_session.OnnxSession.logits",
        lambda *arguments, logits=OnnxSession.logits: calls.append(1) or logits(*arguments),
    )
    plain = train(output="torch")
    assert not calls
    by_ort = train("hyperparameters.evaluate_with_ort=true", output="ort")
    assert calls
    assert state_difference(final_state(plain), final_state(by_ort)) == 0  # exporting touches no random state
    for ours, theirs in zip(read_metrics(plain, "validation"), read_metrics(by_ort, "validation"), strict=True):
        assert theirs == pytest.approx(ours, abs=1e-6)
        assert theirs["f1"] == ours["f1"]
    tests = [json.loads((folder / "summary.json").read_text())["test"] for folder in (plain, by_ort)]
    assert tests[1] == pytest.approx(tests[0], abs=1e-6)


@pytest.mark.skipif(has_ort(), reason="ONNX Runtime training is here")
def test_a_run_that_asks_for_ort_without_it_reads_no_data_and_leaves_nothing(tmp_path, config_file, capsys):
    arguments = [str(config_file), "--output-dir", str(tmp_path / "run"), "--config", "hyperparameters.backend=ort"]
    assert ner_trial.main(arguments) == 2
    assert "backend: 'ort'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_batch_in_which_a_backend_compiled_counts_for_the_loss_and_not_for_speed():
    labels = torch.tensor([[IGNORED, 1, 2, IGNORED]])
    batch = {"labels": labels, "attention_mask": torch.ones_like(labels), "windows": torch.tensor([0])}
    metrics = TrainingMetrics()
    metrics.update(torch.tensor(6.0), batch, compile_seconds=1e-9)
    alone = metrics.cross_slot_reduce([metrics.per_slot_reduce()])
    assert (alone["loss"], alone["samples_per_second"], alone["tokens_per_second"]) == (3.0, 0.0, 0.0)
    metrics.update(torch.tensor(2.0), batch)
    sums, samples, _, compile_seconds = metrics.per_slot_reduce()
    assert (sums, samples, compile_seconds) == ([8.0, 4.0, 4.0], 1, 1e-9)
    both = metrics.cross_slot_reduce([(sums, 1, 12.0, 10.0), (sums, 1, 12.0, 0.0)])
    assert (both["samples_per_second"], both["tokens_per_second"]) == (1.0, 4.0)


@pytest.mark.parametrize(
    "backend", ["eager", pytest.param("compile", marks=pytest.mark.slow), pytest.param("ort", marks=needs_ort)]
)
def test_the_first_step_of_a_backend_that_compiles_is_a_warm_up(train, backend):
    options = [f"hyperparameters.backend={backend}", "hyperparameters.max_steps=3", "scheduling_unit=1"]
    first, *others = read_metrics(train(*options), "training")
    assert (first["samples_per_second"] == 0) == (backend != "eager")
    assert others[-1]["samples_per_second"] > 0


# -- fp16 and Apex, whose GPU is not here: the real scaler on the CPU, and a stand-in of apex.amp ------------------


@pytest.fixture
def without_conditions(monkeypatch):
    monkeypatch.setattr("determined_ner.training.setup.check_conditions", lambda *_: None)


def test_the_scaler_of_fp16_is_in_the_checkpoint(train, monkeypatch, without_conditions):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    monkeypatch.setattr("determined_ner.model.engine.make_scaler", lambda: scaler)
    folder = train("hyperparameters.precision=fp16", "hyperparameters.max_steps=3")
    assert final_state(folder)["scaler_state_dict"]["scale"] == 2.0**10
    assert final_state(folder)["scaler_state_dict"]["_growth_tracker"] == 3


class Amp(types.ModuleType):
    """apex.amp as a recorder: O1 whose casts do nothing."""

    def __init__(self) -> None:
        super().__init__("apex.amp")
        self.calls: list[str] = []
        self.optimizer: torch.optim.Optimizer | None = None

    def initialize(self, models, optimizers, opt_level="O1", **_):
        assert isinstance(models, torch.nn.Module) and next(models.parameters()).dtype == torch.float32
        self.calls.append(f"initialize {opt_level} {type(models).__name__}")
        self.optimizer = optimizers
        return models, optimizers

    @contextlib.contextmanager
    def scale_loss(self, loss, optimizers, loss_id=0):
        assert optimizers == [self.optimizer]
        self.calls.append("scale_loss")
        yield loss * 8
        for parameter in self.master_params(self.optimizer):
            if parameter.grad is not None:
                parameter.grad /= 8

    def master_params(self, optimizer):
        return [p for group in optimizer.param_groups for p in group["params"]]

    def state_dict(self):
        return {"loss_scaler0": {"loss_scale": 8.0, "unskipped": len(self.calls)}}

    def load_state_dict(self, state):
        self.calls.append(f"load {state['loss_scaler0']['loss_scale']}")


@pytest.fixture
def amp(monkeypatch, without_conditions) -> Amp:
    recorder = Amp()
    apex = types.ModuleType("apex")
    apex.amp = recorder
    monkeypatch.setitem(sys.modules, "apex", apex)
    monkeypatch.setitem(sys.modules, "apex.amp", recorder)
    return recorder


def test_apex_is_configured_last_scales_each_loss_and_resumes(train, amp):
    options = ["hyperparameters.use_apex_amp=true", "hyperparameters.apex_opt_level=O2", "hyperparameters.max_steps=4"]
    options += ["min_checkpoint_period.batches=2", "checkpoint_storage.save_trial_latest=3"]
    whole = train(*options, output="whole")
    assert amp.calls == ["initialize O2 BertForTokenClassification"] + ["scale_loss"] * 4
    plain = train("hyperparameters.max_steps=4", "hyperparameters.group_by_length=true", output="plain")
    assert state_difference(final_state(plain), final_state(whole)) < 1e-6  # 8 is a power of two
    assert final_state(whole)["amp_state"]["loss_scaler0"]["loss_scale"] == 8.0

    amp.calls.clear()
    shutil.rmtree(whole / "checkpoints" / "step-00000004")
    before = without_times(read_metrics(whole))
    train(*options, output="whole", options=["--resume"])
    assert amp.calls == ["initialize O2 BertForTokenClassification", "load 8.0"] + ["scale_loss"] * 2
    assert without_times(read_metrics(whole)) == before


# -- On real text -------------------------------------------------------------------------------------------------


@pytest.fixture
def real(tmp_path, shared_data, pretrained_encoder) -> Path:
    """The pretrained encoder on WNUT-17, without dropout."""
    config = json.loads((pretrained_encoder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (tmp_path / "still").mkdir()
    (tmp_path / "still" / "config.json").write_text(json.dumps(config))
    corpus = {split: shared_data / "wnut17" / f"{split}.json" for split in ("train", "validation")}
    return write_config(
        tmp_path / "real.yaml", pretrained_encoder, corpus, config_name=str(tmp_path / "still"), learning_rate=5e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("backend", [pytest.param("compile", marks=not_of_ort), pytest.param("ort", marks=needs_ort)])
def test_fifty_steps_on_real_text_are_those_of_pytorch(train, real, backend):
    options = ["hyperparameters.max_steps=50", "data.max_train_samples=800", "data.max_eval_samples=50"]
    options += ["optimizations.aggregation_frequency=1", "reproducibility.experiment_seed=42"]
    options += ["hyperparameters.group_by_length=true"]
    ours = train(*options, config=real, output="eager")
    theirs = train(*options, f"hyperparameters.backend={backend}", config=real, output=backend)
    losses = [[line["loss"] for line in read_metrics(folder, "training")] for folder in (ours, theirs)]
    assert len(losses[0]) == 50
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    # Which last bit differs depends on the processor; Adam moves a weight by up to 50 steps of 5e-5.
    assert state_difference(final_state(ours), final_state(theirs)) < 2e-5
