"""Files at a URL, in a bucket and in any store of fsspec: fetched whole, once, and again when they change."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import itertools
import os
import stat
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import ner_trial
from determined_ner.data import remote
from determined_ner.data.remote import fetch_files
from determined_ner.errors import TemporaryError, UserError
from determined_ner.masks import masked
from determined_ner.settings.data import DataSettings
from tests.conftest import make_sentences, read_metrics, write_conll

TEXT = b"Ada\tB-PER\nwent\tO\n\n"


@dataclass
class Store:
    """A server of files on this machine, which also speaks as much of S3 as reading one takes."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    """Where a path is redirected to."""
    sent: list[str] = field(default_factory=list)
    """Paths whose content was asked for."""
    named: bool = True
    """Whether answers name their version: ETag and date."""
    short: int = 0
    """Bytes that answers lack."""
    headers: dict[str, str] = field(default_factory=dict)
    """Of every answer, besides."""
    body: Callable[[], Iterable[bytes]] | None = None
    """What is sent in place of a file, for as long as anyone reads; each call begins again."""
    silent: float = 0.0
    """Seconds before an answer begins."""
    refused: int | None = None
    """Status of each answer in place of the file."""


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
            time.sleep(served.silent)
            if path in served.moved:
                self.send_response(302)
                self.send_header("Location", served.moved[path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if served.body is not None:
                self.close_connection = True
                self.send_response(200)
                self.end_headers()
                with contextlib.suppress(OSError):
                    for part in served.body():
                        self.wfile.write(part)
                        self.wfile.flush()
                return
            if served.refused is not None:
                content = None
            self.send_response(served.refused or (404 if content is None else 200))
            self.send_header("Content-Length", str(len(content or b"")))
            if content is not None:
                if served.named:
                    self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
                    self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
                for name, value in served.headers.items():
                    self.send_header(name, value)
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


def test_no_secret_of_a_url_is_kept_but_in_one_file_of_its_owner(store, train, refuse, corpus, capsys):
    for split, file in corpus.items():
        store.files[f"/{split}.conll"] = store.files[f"/{split}.conll;sig=hunter2"] = file.read_bytes()
    host = store.url.removeprefix("http://")
    urls = [f"data.{split}_file=http://me:hunter2@{host}/{split}.conll?token=hunter2" for split in corpus]
    urls[0] = f"data.train_file=http://me:hunter2@{host}/train.conll;sig=hunter2?token=hunter2"
    folder = train(
        *urls, "data.dataset_name=http://me:hunter2@host/x", "checkpoint_storage.secret_key=hunter2", output="begun"
    )
    secrets = folder / ".secrets.json"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600 and "hunter2" in secrets.read_text()
    files = [path for path in folder.rglob("*") if path.is_file() and path != secrets]
    assert {"config.json", "load_data.json", "summary.json", "ner_settings.json"} <= {path.name for path in files}
    assert [path for path in files if "hunter2" in path.name or b"hunter2" in path.read_bytes()] == []
    captured = capsys.readouterr()
    assert "hunter2" not in captured.out + captured.err and "is not used, data.train_file" in captured.err

    options = ("--resume", "--output-dir", str(folder))
    assert ner_trial.main([*options]) == 0  # the secrets are there
    assert ner_trial.main([*options, "--config", f"data.test_file=http://{host}/test.conll?token=new"]) == 0
    message = refuse(f"data.train_file=http://me:hunter2@{host}/validation.conll?hunter2", options=options)
    assert "started with other settings" in message and "hunter2" not in message


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
    assert masked("https://me:secret@host/a/b.csv?token=secret") == "https://host/a/b.csv?…"


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
        ("http://me:hun/ter2@host/train.conll", "http://host/train.conll is no valid URL; write"),
        ("http://[host/train.conll", "is no valid URL"),
        ("{store}/a%00b", "names no file"),
        ("{store}/;a=b", "names no file"),
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
    with pytest.raises(TemporaryError, match=r"data\.train_file: .*(bytes came|cannot be read)"):
        fetch(f"{store.url}/train.conll", tmp_path)
    assert not list(tmp_path.rglob("train.conll"))
    store.short = 0
    assert fetch(f"{store.url}/train.conll", tmp_path).read_bytes() == TEXT


def test_only_a_store_that_may_answer_later_is_worth_another_try(store, tmp_path):
    store.files["/train.conll"] = TEXT
    kinds = {}
    for store.refused in (403, 404, 429, 500, 503):
        with pytest.raises(UserError, match=f"the server answers {store.refused}") as raised:
            fetch(f"{store.url}/train.conll", tmp_path)
        kinds[store.refused] = type(raised.value)
    assert kinds == {403: UserError, 404: UserError} | dict.fromkeys((429, 500, 503), TemporaryError)


@pytest.mark.parametrize("name", ["data.cache_dir", "hyperparameters.cache_dir"])
def test_a_url_is_no_directory(refuse, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refuse(f"{name}=http://me:hunter2@host/x")
    assert f"{name}: 'http://host/x' is wrong: a URL is no directory of this machine" in message
    assert not [path for path in tmp_path.rglob("*") if "hunter2" in path.name]


def test_a_url_of_a_kind_that_is_not_fetched_is_told(refuse):
    message = refuse("data.train_file=simplecache::http://me:hunter2@host/train.conll?token=hunter2")
    assert "simplecache::http://host/train.conll?…: is a URL, and files of this machine alone" in message


def drip() -> Iterator[bytes]:
    while True:
        yield b"A"
        time.sleep(0.02)


def test_a_store_that_drips_is_given_up(store, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "PATIENCE", 0.5)
    store.body = drip
    with pytest.raises(TemporaryError, match=r"train.conll cannot be read \(too slow: fewer than 256 KiB in 0.5 s\)"):
        fetch(f"{store.url}/train.conll", tmp_path)
    assert not list(tmp_path.rglob("train.conll"))


def test_a_store_that_does_not_answer_is_given_up(store, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "PATIENCE", 0.2)
    store.files["/train.conll"], store.silent = TEXT, 1.0
    with pytest.raises(TemporaryError, match=r"train.conll cannot be read \(too slow"):
        fetch(f"{store.url}/train.conll", tmp_path)


def test_a_file_without_end_is_given_up(store, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "MAX_BYTES", 1 << 20)
    store.body = lambda: itertools.repeat(bytes(1 << 16))
    with pytest.raises(UserError, match=r"train.conll has more than 0 GiB; give several files"):
        fetch(f"{store.url}/train.conll", tmp_path)
    assert not list(tmp_path.rglob("train.conll"))


@pytest.mark.parametrize(("packing", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_what_was_packed_for_the_transfer_is_unpacked(store, tmp_path, packing, pack):
    store.files["/train.conll"], store.headers["Content-Encoding"] = pack(TEXT), packing
    assert fetch(f"{store.url}/train.conll", tmp_path).read_bytes() == TEXT


def test_a_packed_file_stays_packed_whatever_the_server_says_of_it(store, tmp_path):
    store.files["/train.conll.gz"], store.headers["Content-Encoding"] = gzip.compress(TEXT), "gzip"
    assert gzip.decompress(fetch(f"{store.url}/train.conll.gz", tmp_path).read_bytes()) == TEXT


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        ("/train.conll.gz", "/blob/abc"),
        ("/train.conll.gz;version=2", "/blob/abc"),
        ("/train.conll", "/blob/abc.gz"),
    ],
)
def test_a_copy_is_packed_where_the_name_asked_for_says_so(store, tmp_path, asked, stored):
    store.files[stored], store.moved[asked] = gzip.compress(TEXT), stored
    store.headers["Content-Encoding"] = "gzip"
    copy = fetch(f"{store.url}{asked}", tmp_path)
    assert copy.name == asked[1:].partition(";")[0]
    assert (gzip.decompress(copy.read_bytes()) if copy.suffix == ".gz" else copy.read_bytes()) == TEXT


def test_a_packing_that_is_not_read_is_named(store, tmp_path):
    store.files["/train.conll"], store.headers["Content-Encoding"] = TEXT, "br"
    with pytest.raises(UserError, match=r"train.conll cannot be read \(the server packs it by 'br'"):
        fetch(f"{store.url}/train.conll", tmp_path)


def test_a_web_page_in_place_of_the_file_is_named_by_its_url(store, tmp_path):
    store.files["/train.conll"] = b"\n<!DOCTYPE html><title>Log in</title>"
    store.headers["Content-Type"] = "text/html; charset=utf-8"
    with pytest.raises(UserError, match=r"train.conll\?… gives a web page, not a file of data; check the address"):
        fetch(f"{store.url}/train.conll?token=hunter2", tmp_path)
    store.files["/train.conll"] = TEXT  # of a server that calls all text so
    assert fetch(f"{store.url}/train.conll", tmp_path).read_bytes() == TEXT


@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_is_not_waited_for(tmp_path, linked):
    pipe = tmp_path / "pipe.conll"
    os.mkfifo(pipe)
    if linked:
        (tmp_path / "link.conll").symlink_to(pipe)
    with pytest.raises(UserError, match=r"cannot be read \(it is a pipe or a device, not a regular file\)"):
        fetch(f"file://{tmp_path}/{'link' if linked else 'pipe'}.conll", tmp_path / "cache")


def test_a_mistake_in_a_fetched_file_is_shown_with_its_line(store, config_file, tmp_path, capsys):
    write_conll(tmp_path / "bad.conll", make_sentences(4))
    store.files["/bad.conll"] = (tmp_path / "bad.conll").read_bytes() + b"\nword without a tag column here\n"
    arguments = [str(config_file), "--output-dir", str(tmp_path / "run")]
    assert ner_trial.main([*arguments, "--config", f"data.train_file={store.url}/bad.conll?hunter2"]) == 2
    assert f"error: {store.url}/bad.conll?…:" in (said := capsys.readouterr().err) and "downloads" not in said
    assert not (tmp_path / "run").exists()
