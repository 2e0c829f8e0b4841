"""The tagger: words in = tags out, its tags are those of training's evaluation, threads share one."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from determined_ner.errors import UserError
from determined_ner.model.directory import SETTINGS_FILE
from determined_ner.tagging.tagged import Tagged
from determined_ner.tagging.tagger import Tagger, in_buffers
from determined_ner.tagging.words import RawText
from determined_ner.tags.entities import TagTable
from determined_ner.tags.schemes import Scheme, bad_tags
from determined_ner.tags.scores import evaluate
from tests.conftest import NAMES, PLACES, make_sentences
from tests.damage import own_copy


@pytest.fixture(scope="module")
def tagger(model_dir) -> Tagger:
    return Tagger.from_pretrained(model_dir)


@pytest.fixture(scope="module")
def onnx_dir(model_dir, tmp_path_factory) -> Path:
    pytest.importorskip("onnx")
    from transformers import AutoModelForTokenClassification

    from determined_ner.model.onnx_export import export_onnx

    folder = tmp_path_factory.mktemp("export") / "model"
    shutil.copytree(model_dir, folder)
    model = AutoModelForTokenClassification.from_pretrained(folder)
    names = [model.config.id2label[i] for i in range(model.config.num_labels)]
    export_onnx(model, folder / "model.onnx", names)
    return folder


def validation_words(run: Path) -> list[list[str]]:
    sentences = [*make_sentences(13, 100), [word for s in make_sentences(8, 300) for word in s]]
    return [[word for word, _ in sentence] for sentence in sentences]


def copied(model_dir: Path, to: Path) -> Path:
    return own_copy(model_dir, to / "copy")


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_scores_are_those_that_training_reported(run, model_dir):
    """Same windows, same owners, same logits: without constraints every score of the best validation comes out."""
    tagged = Tagger.from_pretrained(model_dir, constrained=False).tag(validation_words(run))
    sentences = [*make_sentences(13, 100), [word for s in make_sentences(8, 300) for word in s]]
    ids = {label: i for i, label in enumerate(tagged.labels)}
    gold = np.array([ids[tag] for sentence in sentences for _, tag in sentence])
    found = evaluate(gold, tagged.ids, tagged.starts, TagTable(tagged.labels))
    best = json.loads((run / "summary.json").read_text())["best"]
    assert 0 < best["f1"] < 1
    assert found == {name: best[name] for name in found}


def test_words_in_are_tags_out(tagger):
    texts = [["Ada", "went"], [], ["x" * 1_000_000, "Oslo"], ["\u200b", "", "\x07"], ["a"] * 500]
    tagged = tagger.tag(texts)
    assert [len(tags) for tags in tagged.tags] == [2, 0, 2, 3, 500]
    assert tagged.logits.shape == (507, len(tagger.labels))
    assert np.isfinite(tagged.logits).all()
    np.testing.assert_allclose(tagged.probabilities.sum(1), 1)
    np.testing.assert_array_equal(tagged.scores, tagged.probabilities[np.arange(507), tagged.ids])


def test_nothing_in_is_nothing_out(tagger):
    assert tagger([]) == [] and tagger(["", " \t\u3000\n"]) == [[], []]
    assert tagger.tag([]).tags == [] and tagger.tag([[], []]).tags == [[], []]


def test_order_and_company_do_not_matter(tagger):
    """Batches are sorted by length and cut at buffers; every text keeps its place and its tags."""
    texts = [[NAMES[i % 6]] * (1 + i * 7 % 90) for i in range(60)]
    together = tagger.tag(texts)
    alone = np.concatenate([tagger.tag([text]).logits for text in texts])
    np.testing.assert_allclose(together.logits, alone, atol=1e-5)
    assert tagger([" ".join(text) for text in texts]) == [
        RawText(" ".join(text)).entities(together, i) for i, text in enumerate(texts)
    ]


def test_entities_have_their_place_in_the_text(tagger):
    text = f"  {NAMES[0]} {NAMES[1]}\twent to\u00a0{PLACES[0]}."
    entities = tagger([text])[0]
    assert [(e.type, e.text) for e in entities] == [("PER", f"{NAMES[0]} {NAMES[1]}"), ("LOC", PLACES[0])]
    assert all(text[e.start : e.end] == e.text and 0 < e.score <= 1 for e in entities)
    words = RawText(text)
    tagged = tagger.tag([words.words])
    assert entities[0].score == pytest.approx(tagged.scores[:2].mean())


def test_constrained_tags_are_valid_and_free_ones_are_the_best_of_each_word(tagger, model_dir):
    texts = [["oslo", "ada", "went", "rome", "bo", "x"] * 10, ["ada"] * 9]
    free = Tagger.from_pretrained(model_dir, constrained=False).tag(texts)
    np.testing.assert_array_equal(free.ids, free.logits.argmax(1))
    assert all(bad_tags(tags, tagger.scheme) == [] for tags in tagger.tag(texts).tags)


def test_threads_share_a_tagger(tagger):
    texts = [f"{NAMES[i % 6]} went to {PLACES[i % 4]} and {PLACES[i % 3]} ." * (1 + i % 5) for i in range(40)]
    expected = [tagger([text])[0] for text in texts]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: tagger([text])[0], texts * 5))
    assert found == expected * 5


@pytest.mark.parametrize("scheme", [Scheme.IOB1, Scheme.BIOES, Scheme.BILOU])
def test_tags_are_given_in_the_scheme_of_the_training_files(scheme, tagger, model_dir, tmp_path):
    folder = copied(model_dir, tmp_path)
    edit(folder / SETTINGS_FILE, scheme=scheme.value)
    other = Tagger.from_pretrained(folder)
    words = [["Ada", "Bo", "went", "to", "Oslo"]]
    assert other.label_scheme is Scheme.IOB2
    assert tagger.tag(words).tags == [["B-PER", "I-PER", "O", "O", "B-LOC"]]
    spelled = {Scheme.IOB1: "I-PER I-PER O O I-LOC", Scheme.BIOES: "B-PER E-PER O O S-LOC"}
    assert other.tag(words).tags == [spelled.get(scheme, "B-PER L-PER O O U-LOC").split()]
    assert other.tag(words).spans == [[("PER", 0, 2), ("LOC", 4, 5)]]


def test_a_directory_of_others_is_read_by_its_config(model_dir, tmp_path):
    """No settings of ours: labels and their scheme from config.json, windows as long as the model takes."""
    folder = copied(model_dir, tmp_path)
    (folder / SETTINGS_FILE).unlink()
    plain = Tagger.from_pretrained(folder)
    assert (plain.scheme, plain.label_scheme) == (Scheme.IOB2, Scheme.IOB2)
    assert plain._capacity == 62
    bilou = ["U-LOC", "B-PER", "L-PER", "O"]
    edit(folder / "config.json", id2label=dict(enumerate(bilou)), label2id={n: i for i, n in enumerate(bilou)})
    tagger = Tagger.from_pretrained(folder)
    assert (tagger.scheme, tagger.label_scheme) == (Scheme.BILOU, Scheme.BILOU)
    assert all(bad_tags(tags, Scheme.BILOU) == [] for tags in tagger.tag([["Ada", "Bo", "went"] * 4]).tags)


def test_plain_labels_make_every_word_an_entity():
    tagged = Tagged(
        ("NOUN", "VERB"),
        Scheme.PLAIN,
        Scheme.PLAIN,
        np.zeros((2, 2), np.float32),
        np.array([0, 1]),
        np.array([0, 2]),
    )
    assert tagged.tags == [["NOUN", "VERB"]]
    assert [(e.type, e.text) for e in RawText("Ada went").entities(tagged, 0)] == [("NOUN", "Ada"), ("VERB", "went")]


def test_documents_are_seen_whole_where_training_saw_them(model_dir, tmp_path):
    folder = copied(model_dir, tmp_path)
    described = json.loads((folder / SETTINGS_FILE).read_text())
    edit(folder / SETTINGS_FILE, data={**described["data"], "context": "document"})
    tagger = Tagger.from_pretrained(folder)
    texts = [["Ada"], ["went", "to"], ["Oslo"]]
    parted = tagger.tag(texts).logits
    together = tagger.tag(texts, documents=[0, 0, 1]).logits
    assert tagger.whole_documents
    np.testing.assert_allclose(tagger.tag([["Ada", "went", "to"], ["Oslo"]]).logits, together, atol=1e-6)
    assert np.abs(parted - together)[:3].max() > 1e-4
    np.testing.assert_allclose(Tagger.from_pretrained(model_dir).tag(texts, [0, 0, 1]).logits, parted, atol=1e-6)


def test_onnx_runtime_gives_the_same(tagger, onnx_dir):
    texts = [["Ada", "Bo", "went", "to", "Oslo"] * 20, [], ["x"], ["Rome", "."]]
    other = Tagger.from_pretrained(onnx_dir, backend="onnx")
    assert other.runs_on == "ONNX Runtime (CPUExecutionProvider) on cpu" and tagger.runs_on == "PyTorch on cpu"
    left, right = tagger.tag(texts), other.tag(texts)
    assert left.tags == right.tags
    np.testing.assert_allclose(left.logits, right.logits, atol=1e-4)


def test_transformers_pipeline_finds_the_same_entities(model_dir):
    """Where a word of ours is one of the pipeline's, and each is tagged by itself."""
    from transformers import pipeline

    texts = ["Ada Bo went to Oslo.", "Oslo Rome (Ada) to Lima, Kyiv", "Fay Fay to Rome ' Ada"]
    free = Tagger.from_pretrained(model_dir, constrained=False)
    theirs = pipeline("token-classification", str(model_dir), aggregation_strategy="first")
    letters = pipeline("token-classification", str(model_dir), aggregation_strategy="simple")
    single = ["a b c d", "a . b , c", "f a y", "o s l o"]  # words of one piece each
    for reference, some in ((theirs, texts), (letters, single)):
        for text, ours in zip(some, free(some), strict=True):
            found = reference(text)
            assert [(e["entity_group"], e["start"], e["end"]) for e in found] == [
                (e.type, e.start, e.end) for e in ours
            ]
            np.testing.assert_allclose([e["score"] for e in found], [e.score for e in ours], atol=1e-5)
    assert sum(len(entities) for entities in free(texts)) > 5


def test_buffers_are_bounded_and_documents_are_not_cut():
    sizes = [5, 0, 0, 20, 1, 1, 1]
    assert list(in_buffers(sizes, int, limit=6)) == [[5, 0], [0, 20], [1, 1, 1]]
    items = list(zip(sizes, [0, 0, 0, 0, 1, 1, 2], strict=True))
    kept = in_buffers(items, lambda item: item[0], lambda item: item[1], limit=2)
    assert [[size for size, _ in buffer] for buffer in kept] == [[5, 0, 0, 20], [1, 1], [1]]


@pytest.mark.parametrize(
    ("texts", "error", "said"),
    [
        ("Ada went", TypeError, r"not one text; write tagger\(\[text\]\)"),
        (None, TypeError, r"not None; write tagger\(\[text\]\)"),
        (3, TypeError, r"not 3 \(int\)"),
        (b"Ada", TypeError, r"not b'Ada' \(bytes\)"),
        ({"text": "Ada"}, TypeError, r"not {'text': 'Ada'} \(dict\)"),
        (["Ada", ["Ada", "went"]], TypeError, r"texts\[1\] is \['Ada', 'went'\] \(list\); .* tagger.tag\(texts\)"),
        (["Ada", None], TypeError, r"texts\[1\] is None; every text is a string"),
        (["Ada", "\ud800"], ValueError, r"texts\[1\] has half a character .*'\\ud800'"),
    ],
)
def test_texts_are_asked_for_by_name(tagger, texts, error, said):
    with pytest.raises(error, match=said):
        tagger(texts)


@pytest.mark.parametrize(
    ("texts", "error", "said"),
    [
        ("Ada went", TypeError, r"not one raw text; write tagger\(\[text\]\)"),
        (["Ada went to Oslo."], TypeError, r"for raw texts write tagger\(texts\)"),
        (["Ada", "went"], TypeError, r"for the words of one text tagger.tag\(\[words\]\)"),
        (None, TypeError, r"not None; write tagger.tag\(\[words\]\)"),
        (3, TypeError, r"not 3 \(int\)"),
        ([["Ada"], "went"], TypeError, r"texts\[1\] is 'went' \(str\)"),
        ([["Ada"], 3], TypeError, r"texts\[1\] is 3 \(int\)"),
        ([["Ada", None]], TypeError, r"texts\[0\]\[1\] is None; every word is a string"),
        ([["Ada", 3]], TypeError, r"texts\[0\]\[1\] is 3 \(int\)"),
        ([[], ["Ada", "\udc00"]], ValueError, r"texts\[1\] has half a character"),
    ],
)
def test_words_are_asked_for_by_name(tagger, texts, error, said):
    with pytest.raises(error, match=said):
        tagger.tag(texts)


def test_any_iterable_of_strings_will_do(tagger):
    text = f"{NAMES[0]} went to {PLACES[0]}."
    assert tagger(iter((text, ""))) == tagger([text, ""])
    assert tagger.tag([np.array(["Ada", "went"]), ("Oslo",)]).tags == tagger.tag([["Ada", "went"], ["Oslo"]]).tags


def test_the_choices_are_checked(model_dir):
    with pytest.raises(ValueError, match="'tensorflow'"):
        Tagger.from_pretrained(model_dir, backend="tensorflow")
    with pytest.raises(ValueError, match=r"device 'tpu9' is not here; there is cpu"):
        Tagger.from_pretrained(model_dir, device="tpu9")
    with pytest.raises(ValueError, match=r"device 'cuda:99' is not here"):
        Tagger.from_pretrained(model_dir, device="cuda:99")
    for name in ("batch_size", "threads"):
        for number, error in ((0, ValueError), (-1, ValueError), (2.0, TypeError), ("8", TypeError), (True, TypeError)):
            with pytest.raises(error, match=f"{name} is .*; write a whole number from 1, as {name}=8"):
                Tagger.from_pretrained(model_dir, **{name: number})
    for name in ("constrained", "trust_remote_code"):
        for choice in ("false", 0, None):
            with pytest.raises(TypeError, match=f"{name} is .*; write {name}=True or {name}=False"):
                Tagger.from_pretrained(model_dir, **{name: choice})


@pytest.mark.parametrize(
    ("documents", "error", "said"),
    [
        ([0, 1, 0], ValueError, r"documents\[2\] is 0, after 1; .* does not decrease, as \[0, 0, 1\]"),
        ([0, 1], ValueError, "documents has 2 numbers for 3 texts"),
        ([0, "1", 2], TypeError, r"documents\[1\] is '1' \(str\)"),
        ([0, 1.0, 2], TypeError, r"documents\[1\] is 1.0 \(float\)"),
        ("abc", TypeError, r"documents is 'abc' \(str\)"),
        (1, TypeError, r"documents is 1 \(int\)"),
    ],
)
def test_documents_are_asked_for_by_name(tagger, documents, error, said):
    texts = [["Ada"], ["Bo"], ["Cy"]]
    with pytest.raises(error, match=said):
        tagger.tag(texts, documents)
    assert tagger.tag(texts, np.array([0, 0, 1])).tags == tagger.tag(texts).tags


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_batch_size_bounds_what_goes_through_the_model_and_changes_no_tag(tagger, model_dir, size):
    texts = [["Ada", "went"] * (1 + i % 70) for i in range(20)]
    other = Tagger.from_pretrained(model_dir, device="cpu", batch_size=size)
    model, sizes = other._model, []
    other._model = lambda ids, mask: (sizes.append(len(ids)), model(ids, mask))[1]
    found, expected = other.tag(texts), tagger.tag(texts)
    assert max(sizes) == min(size, sum(sizes)) and len(sizes) == -(-sum(sizes) // size)
    assert found.tags == expected.tags
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-5)


def test_a_tagger_can_be_pickled_and_used_in_another_process(tagger, onnx_dir, tmp_path):
    texts = [f"{NAMES[0]} went to {PLACES[0]}."]
    for one in (tagger, Tagger.from_pretrained(onnx_dir, backend="onnx", threads=1)):
        assert pickle.loads(pickle.dumps(one))(texts) == one(texts)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(tagger, [texts])) == [tagger(texts)]


def test_one_long_text_tells_how_far_it_is(tagger):
    words = ["Ada", "went", "to", "Oslo"] * 2000
    told: list[int] = []
    tagger.tag([words, ["Bo"]], progress=told.append)
    assert sum(told) == 8001 and max(told) < 1000


# -- Refused directories ------------------------------------------------------------------------------


def refused(folder: Path, **options: object) -> str:
    with pytest.raises(UserError) as error:
        Tagger.from_pretrained(folder, **options)
    return str(error.value)


def test_a_run_folder_is_refused_with_its_model_named(run, tmp_path):
    assert f"did you mean {run / 'model'}?" in refused(run)
    assert "no such directory" in refused(tmp_path / "nothing")
    assert "no config.json" in refused(tmp_path)


def test_a_model_of_another_task_is_refused(model_dir, tiny_encoder, tmp_path):
    assert "a BertModel, which is no token classifier" in refused(tiny_encoder)
    folder = copied(tiny_encoder, tmp_path)
    edit(folder / "config.json", architectures=None)
    assert "lack classifier.bias" in refused(folder)
    edit(folder / "config.json", architectures=["BertForTokenClassification"], num_labels=3)
    assert "lack classifier.bias" in refused(folder)


def test_half_a_directory_is_refused(model_dir, onnx_dir, tmp_path):
    folder = copied(onnx_dir, tmp_path)
    (folder / "model.safetensors").unlink()
    assert "--backend onnx" in refused(folder)
    (folder / "tokenizer.json").write_text("{")
    assert str(folder) in refused(folder, backend="onnx") and "tokenizer" in refused(folder, backend="onnx")
    (folder / SETTINGS_FILE).write_text("{")
    shutil.copy(onnx_dir / "tokenizer.json", folder)
    assert SETTINGS_FILE in refused(folder, backend="onnx")
    assert "--onnx" in refused(model_dir, backend="onnx")


def test_files_of_two_models_are_refused(onnx_dir, tmp_path):
    folder = copied(onnx_dir, tmp_path)
    labels = json.loads((folder / "config.json").read_text())["id2label"]
    renamed = {i: name.replace("LOC", "GPE") for i, name in labels.items()}
    edit(folder / "config.json", id2label=renamed, label2id={name: int(i) for i, name in renamed.items()})
    assert "are not those of config.json" in refused(folder)
    (folder / SETTINGS_FILE).unlink()
    assert "files are of two models" in refused(folder, backend="onnx")


def test_an_onnx_file_without_its_label_map_is_refused(onnx_dir, tmp_path):
    import onnx

    folder = copied(onnx_dir, tmp_path)
    graph = onnx.load(folder / "model.onnx")
    del graph.metadata_props[:]
    onnx.save(graph, folder / "model.onnx")
    message = refused(folder, backend="onnx")
    assert "model.onnx" in message and "label map" in message and "export" in message
