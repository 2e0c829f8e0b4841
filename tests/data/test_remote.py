"""Files at a URL, in a bucket and in any store of fsspec: fetched whole, once, and again when they change."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from determined_ner.data import remote
from determined_ner.data.remote import fetch_files
from determined_ner.errors import UserError
from determined_ner.settings.data import DataSettings
from determined_ner.settings.urls import shown_url
from tests.conftest import make_sentences, read_metrics, write_conll

TEXT = b"Ada\tB-PER\nwent\tO\n\n"


@dataclass
class Store:
    """A server of files on this machine, which also speaks as much of S3 as reading one takes."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    """Paths whose content was asked for."""
    named: bool = True
    """Whether answers name their version: ETag and date."""
    short: int = 0
    """Bytes that answers lack."""


@pytest.fixture
def store() -> Iterator[Store]:
    served = Store()

    class Requests(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(False)

        def do_GET(self) -> None:
            self._answer(True)

        def _answer(self, whole: bool) -> None:
            path = self.path.partition("?")[0]
            content = served.files.get(path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            if content is not None:
                if served.named:
                    self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
                    self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
                if served.short:
                    self.close_connection = True
            self.end_headers()
            if whole and content is not None:
                served.sent.append(path)
                self.wfile.write(content[: len(content) - served.short])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Requests)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    yield served
    server.shutdown()
    server.server_close()


def fetch(url: str, cache: Path, ask: bool = True) -> Path:
    settings = fetch_files(DataSettings(train_file=url, validation_split_percentage=10), cache, ask)
    assert settings.train_file is not None
    return Path(settings.train_file)


def test_a_url_trains_like_its_file(store, train, corpus, tmp_path):
    for split, file in corpus.items():
        store.files[f"/corpus/{split}.conll"] = file.read_bytes()
    urls = [f"data.{split}_file={store.url}/corpus/{split}.conll?token=secret" for split in corpus]
    folder = train(*urls, output="url")
    assert read_metrics(folder, "validation")[-1]["f1"] == pytest.approx(
        read_metrics(train(output="files"), "validation")[-1]["f1"]
    )
    assert sorted(store.sent) == [f"/corpus/{split}.conll" for split in ("test", "train", "validation")]
    assert not list(Path.cwd().glob("*.conll"))
    for handed_on in [folder / "summary.json", *folder.glob("model/*.json")]:
        assert "secret" not in handed_on.read_text(encoding="utf-8"), handed_on


def test_a_file_is_fetched_again_only_when_it_has_changed(store, tmp_path):
    store.files["/train.conll"] = TEXT
    url = f"{store.url}/train.conll"
    copy = fetch(url, tmp_path)
    assert copy.name == "train.conll" and copy.read_bytes() == TEXT
    inode = copy.stat().st_ino
    assert fetch(url, tmp_path) == copy and copy.stat().st_ino == inode
    store.files["/train.conll"] = TEXT * 2
    assert fetch(url, tmp_path, ask=False).read_bytes() == TEXT  # another slot of the machine takes what is there
    assert fetch(url, tmp_path).read_bytes() == TEXT * 2
    store.named = False  # then it is fetched each time
    inode = copy.stat().st_ino
    assert fetch(url, tmp_path).stat().st_ino != inode
    assert [path.name for path in copy.parent.iterdir() if "partial" in path.name] == []


def test_what_a_killed_download_left_is_removed(store, tmp_path):
    store.files["/train.conll"] = TEXT
    url = f"{store.url}/train.conll"
    copy = fetch(url, tmp_path)
    (left := copy.parent / ".train.conll.partial-abcd1234").mkdir()
    (left / "new").write_bytes(b"half of a fi")
    copy.unlink()  # its version is still there
    assert fetch(url, tmp_path).read_bytes() == TEXT
    assert {path.name for path in copy.parent.iterdir()} == {
        "train.conll",
        ".train.conll.lock",
        ".train.conll.version",
    }


def test_a_stop_before_the_new_version_is_noted_fetches_again(store, tmp_path, monkeypatch):
    """Or the new content would go by the old version, and a return to the old content would go unnoticed."""
    url = f"{store.url}/train.conll"
    store.files["/train.conll"] = TEXT
    copy = fetch(url, tmp_path)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    store.files["/train.conll"] = TEXT * 2
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(remote, "write_text", stop)
        fetch(url, tmp_path)
    assert copy.read_bytes() == TEXT * 2
    store.files["/train.conll"] = TEXT
    assert fetch(url, tmp_path).read_bytes() == TEXT


def test_processes_that_fetch_at_once_wait_for_one_another(store, tmp_path):
    store.files["/train.conll"] = TEXT
    url = f"{store.url}/train.conll"
    with ThreadPoolExecutor(4) as pool:
        copies = list(pool.map(lambda _: fetch(url, tmp_path), range(4)))
    assert len(set(copies)) == 1 and copies[0].read_bytes() == TEXT


def test_a_copy_that_cannot_be_kept_is_said(store, tmp_path):
    store.files["/train.conll"] = TEXT
    (tmp_path / "downloads").write_text("a file where the directory would be")
    with pytest.raises(UserError, match=r"^data\.train_file: http.*train.conll cannot be kept in .*; make room"):
        fetch(f"{store.url}/train.conll", tmp_path)


def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"s3://bucket/train.conll: .* needs a package .*pyarrow.*startup-hook.sh"):
        fetch("s3://bucket/train.conll", tmp_path)


def test_a_query_makes_another_file_and_is_not_shown(store, tmp_path):
    store.files["/get.conll"] = TEXT
    one, two = (fetch(f"{store.url}/get.conll?part={part}&token=secret", tmp_path) for part in (1, 2))
    assert one != two and "secret" not in f"{one}{two}"
    with pytest.raises(UserError, match="answers 404") as error:
        fetch(f"{store.url}/none.conll?token=secret", tmp_path)
    assert "secret" not in str(error.value)
    assert shown_url("https://me:secret@host/a/b.csv?token=secret") == "https://host/a/b.csv?…"


def test_a_bucket_is_read_with_the_credentials_of_the_environment(store, tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    store.files["/bucket/corpus/train.conll"] = TEXT
    host = store.url.removeprefix("http://")
    options = f"endpoint_override={host}&scheme=http&region=us-east-1"
    copy = fetch(f"s3://bucket/corpus/train.conll?{options}", tmp_path)
    assert copy.name == "train.conll" and copy.read_bytes() == TEXT
    inode = copy.stat().st_ino
    assert fetch(f"s3://bucket/corpus/train.conll?{options}", tmp_path).stat().st_ino == inode
    with pytest.raises(UserError, match=r"s3://bucket/corpus/none.conll.* cannot be read \(there is no such file"):
        fetch(f"s3://bucket/corpus/none.conll?{options}", tmp_path)


def test_any_store_of_fsspec_is_read(tmp_path):
    import fsspec

    fsspec.filesystem("memory").pipe("/corpus/train.conll", TEXT)
    assert fetch("memory://corpus/train.conll", tmp_path).read_bytes() == TEXT


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("{store}/none.conll", "cannot be read (the server answers 404"),
        ("{store}/", "names no file"),
        ("{store}/../train.conll", "names no file"),
        ("{store}/train-*.conll", "a URL cannot be a pattern"),
        ("http://127.0.0.1:9/train.conll", "cannot be read (ConnectionError)"),
        ("nosuch://host/train.conll", "cannot be read (ValueError)"),
    ],
)
def test_what_cannot_be_fetched_is_said(url, message, store, tmp_path):
    with pytest.raises(UserError, match=r"^data\.train_file: ") as error:
        fetch(url.format(store=store.url), tmp_path)
    assert message in str(error.value)
    assert [path for path in tmp_path.rglob("*.conll") if not path.name.startswith(".")] == []


def test_a_file_cut_short_is_not_taken(store, tmp_path):
    store.files["/train.conll"] = TEXT
    store.short = 5
    with pytest.raises(UserError, match=r"data\.train_file: .*(bytes came|cannot be read)"):
        fetch(f"{store.url}/train.conll", tmp_path)
    assert not list(tmp_path.rglob("train.conll"))
    store.short = 0
    assert fetch(f"{store.url}/train.conll", tmp_path).read_bytes() == TEXT


def test_a_mistake_in_a_fetched_file_is_shown_with_its_line(store, config_file, tmp_path):
    import ner_trial

    write_conll(tmp_path / "bad.conll", make_sentences(4))
    store.files["/bad.conll"] = (tmp_path / "bad.conll").read_bytes() + b"\nword without a tag column here\n"
    arguments = [str(config_file), "--output-dir", str(tmp_path / "run")]
    assert ner_trial.main([*arguments, "--config", f"data.train_file={store.url}/bad.conll"]) == 2
    assert not (tmp_path / "run").exists()
