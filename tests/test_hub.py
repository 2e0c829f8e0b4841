"""What a name of a model means, and the one message where it cannot be loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers

from determined_ner.errors import HyperparameterError, UserError
from determined_ner.hub import Pretrained
from determined_ner.model.quiet import quiet_transformers
from determined_ner.settings.hyperparameters import Hyperparameters


def test_a_setting_that_is_not_set_stands_for_the_encoder():
    hparams = Hyperparameters(pretrained_model_name_or_path="encoder", config_name="other", revision="v2")
    config = Pretrained.of_setting(hparams, "config_name")
    assert (config.name, config.setting, config.revision) == ("other", "config_name", "v2")
    tokenizer = Pretrained.of_setting(hparams, "tokenizer_name")
    assert (tokenizer.name, tokenizer.setting) == ("encoder", "pretrained_model_name_or_path")


def test_a_name_is_taken_as_it_is_and_a_directory_from_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert Pretrained("~/model").location() == str(tmp_path / "model")
    assert Pretrained("bert-base-cased").location() == "bert-base-cased"
    monkeypatch.chdir(tmp_path)
    assert Pretrained("./model").location() == "./model"  # not model: that is a name of the hub
    assert Pretrained("x", cache_dir="~/cache").options()["cache_dir"] == str(tmp_path / "cache")


@pytest.mark.parametrize("name", ["./none", "/none", "~/none"])
def test_a_path_without_a_directory_is_not_asked_of_the_hub(name):
    with pytest.raises(HyperparameterError) as of_setting:
        Pretrained(name, "tokenizer_name").location()
    assert str(of_setting.value).startswith(f"hyperparameters.tokenizer_name: {name!r}: is not a directory; write the")
    with pytest.raises(UserError) as of_user:
        Pretrained(name).location()
    assert type(of_user.value) is UserError and of_user.value.where == name


def test_whatever_the_library_raises_is_one_message(tmp_path):
    here = Pretrained(str(tmp_path), "config_name")
    with pytest.raises(UserError) as caught, here.loading("no config can be loaded", "fetch it again"):
        raise KeyError("architectures")
    assert caught.value.where == f"hyperparameters.config_name: {str(tmp_path)!r}"
    assert caught.value.problem == "no config can be loaded: KeyError: 'architectures'"
    assert caught.value.remedy == "fetch it again"
    elsewhere = Pretrained("some/model", "config_name")
    with pytest.raises(UserError) as caught, elsewhere.loading("no config can be loaded", "fetch it again"):
        raise OSError("no connection")
    assert "the Hugging Face hub does not give it" in caught.value.problem
    assert "check the name of the hub model" in caught.value.remedy


def test_a_message_of_ours_passes_as_it_is():
    ours = UserError("here", "a problem")
    with pytest.raises(UserError) as caught, Pretrained("x").loading("nothing", "nothing"):
        raise ours
    assert caught.value is ours


def test_the_library_is_as_loud_afterwards_as_it_was():
    before = transformers.logging.get_verbosity()
    with pytest.raises(ValueError, match="out"), quiet_transformers():
        assert transformers.logging.get_verbosity() == transformers.logging.ERROR
        raise ValueError("out")
    assert transformers.logging.get_verbosity() == before


def test_the_name_of_a_directory_is_where_a_message_is_about():
    assert Pretrained(str(Path("runs", "x"))).where == "runs/x"
