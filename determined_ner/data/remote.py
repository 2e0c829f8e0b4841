"""Files that lie elsewhere, at a URL, in a bucket or on the hub: fetched once, and again when they have changed.

All other modules read local files. A copy keeps the name of its file, which tells its format, in a directory made
from its URL: ``CACHE/downloads/https/example.com/corpus/train.conll``. Beside it, ``.train.conll.version`` holds what
the store said of its content, such as an ETag.

Why not fsspec's ``filecache``: over HTTP it takes a file to be static, so it never notices a change; it writes under
the final name, so what a broken download leaves is taken for the file at the next look; it keeps whole URLs, with the
secrets in their queries; it names its copies by hashes, without the suffixes that tell formats; and for HTTP, S3 and
Google Cloud Storage it needs packages of its own, where requests and pyarrow are at hand.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from tqdm import tqdm

from determined_ner.errors import UserError
from determined_ner.files.atomic import replacing, write_text
from determined_ner.files.workplace import locked
from determined_ner.settings.data import DataSettings
from determined_ner.settings.urls import FILES, is_remote, shown_url

BLOCK = 1 << 20
"""Bytes read at a time."""
TIMEOUT = (10, 60)
"""Seconds to connect, and to wait for the next bytes."""


class RemoteContent(NamedTuple):
    """What a store hands out for a URL."""

    version: str | None
    """Equal for equal content, such as an ETag; None: the store tells nothing of the kind."""
    size: int | None
    """Bytes; None: unknown."""
    stream: IO[bytes]


def fetch_files(settings: DataSettings, cache_dir: Path, ask: bool = True) -> DataSettings:
    """The settings with a local copy in the place of each remote file.

    Args:
        ask: ask each file's store whether it has changed; else take the copy that is there.

    Raises:
        UserError: a file cannot be fetched.
    """
    fetched = {}
    for name in FILES:
        file = getattr(settings, name)
        if file is not None and is_remote(file):
            fetched[name] = str(fetch(file, f"data.{name}", cache_dir, ask))
    return settings.model_copy(update=fetched) if fetched else settings


def fetch(url: str, setting: str, cache_dir: Path, ask: bool = True) -> Path:
    """The local copy of one remote file.

    Args:
        setting: the dotted setting that names the file, for messages.
        ask: as in `fetch_files`.

    Raises:
        UserError: it cannot be fetched, or the copy cannot be written.
    """
    target = _copy_path(url, setting, cache_dir / "downloads")
    version_file = target.with_name(f".{target.name}.version")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f".{target.name}.lock")):
            if target.exists() and not ask:
                return target
            before = version_file.read_text(encoding="utf-8") if target.exists() and version_file.exists() else None
            with _opened(url, setting) as remote:
                if remote.version is None or remote.version != before:
                    with replacing(target) as partial:
                        _copy(remote, partial, target.name, url, setting)
                        # Before the new content takes its place: a stop in between must not leave it the old version.
                        version_file.unlink(missing_ok=True)
                    if remote.version is not None:
                        write_text(version_file, remote.version)
    except OSError as error:
        raise UserError(
            setting,
            f"{shown_url(url)} cannot be kept in {target.parent}: {error.strerror or error}",
            "make room or rights, or set data.cache_dir",
        ) from None
    return target


def _copy_path(url: str, setting: str, root: Path) -> Path:
    """Where the copy of a file lies: its URL without user and query, which may be secret; a hash stands for the query.

    Raises:
        UserError: the URL names no file, or is a pattern.
    """
    parts = urllib.parse.urlsplit(url)
    names = [urllib.parse.unquote(name) for name in parts.path.split("/") if name]
    if not names or parts.path.endswith("/") or any(name in (".", "..") or "/" in name for name in names):
        raise UserError(setting, f"{shown_url(url)} names no file", "write the whole URL of one")
    if any(character in parts.path for character in "*[]"):
        raise UserError(
            setting, f"{shown_url(url)}: a URL cannot be a pattern", "name one file, or mount the directory"
        )
    host = parts.netloc.rpartition("@")[2]
    if parts.query:
        host += f"-{hashlib.sha256(parts.query.encode()).hexdigest()[:8]}"
    return root.joinpath(parts.scheme.lower(), *([host] if host else []), *names)


def _copy(remote: RemoteContent, partial: Path, name: str, url: str, setting: str) -> None:
    """Write what a store hands out to a file, under a progress bar with a name.

    Raises:
        UserError: the store fails, or its content ends early.
    """
    copied = 0
    with (
        partial.open("wb") as file,
        tqdm(total=remote.size, unit="B", unit_scale=True, desc=name, disable=None, dynamic_ncols=True) as bar,
    ):
        while True:
            with _failures_explained(url, setting):
                block = remote.stream.read(BLOCK)
            if not block:
                break
            file.write(block)
            copied += len(block)
            bar.update(len(block))
    if remote.size is not None and copied != remote.size:
        raise UserError(setting, f"{shown_url(url)}: {copied:,} of {remote.size:,} bytes came", "start again")


@contextlib.contextmanager
def _opened(url: str, setting: str) -> Iterator[RemoteContent]:
    scheme = urllib.parse.urlsplit(url).scheme.lower()
    opener: Callable[[str], RemoteContent] = _open_elsewhere
    if scheme in ("http", "https"):
        opener = _open_http
    elif scheme in ("s3", "gs", "gcs"):
        opener = _open_bucket
    with _failures_explained(url, setting):
        remote = opener(url)
    try:
        yield remote
    finally:
        remote.stream.close()


def _open_http(url: str) -> RemoteContent:
    import requests

    # As it is stored: what is compressed for the transfer alone would have another size.
    response = requests.get(url, stream=True, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"})
    if not response.ok:
        response.close()
        raise FileNotFoundError(f"the server answers {response.status_code} {response.reason}")
    size = response.headers.get("Content-Length")
    modified = response.headers.get("Last-Modified")
    version = response.headers.get("ETag") or (f"{modified} {size}" if modified and size else None)
    return RemoteContent(version, int(size) if size else None, response.raw)


def _open_bucket(url: str) -> RemoteContent:
    """S3 and Google Cloud Storage, with the credentials of the environment."""
    from pyarrow import fs

    store, path = fs.FileSystem.from_uri(re.sub("^gcs:", "gs:", url))
    info = store.get_file_info(path)
    if info.type != fs.FileType.File:
        raise FileNotFoundError("there is no such file in the bucket")
    stream = store.open_input_stream(path, compression=None)
    metadata = {_decoded(key): value for key, value in (stream.metadata() or {}).items()}
    version = metadata.get("ETag") or metadata.get("Generation") or (info.mtime_ns and f"{info.mtime_ns} {info.size}")
    return RemoteContent(_decoded(version) if version else None, info.size, stream)


def _open_elsewhere(url: str) -> RemoteContent:
    """Whatever fsspec knows, such as hf:// of the Hugging Face hub."""
    from fsspec.core import url_to_fs

    store, path = url_to_fs(url)
    info: dict[str, Any] = store.info(path)
    if info.get("type") == "directory":
        raise FileNotFoundError("it is a directory")
    version = next((info[key] for key in ("blob_id", "ETag", "etag", "generation", "md5Hash") if info.get(key)), None)
    if version is None and (modified := info.get("LastModified") or info.get("mtime") or info.get("updated")):
        version = f"{modified} {info.get('size')}"
    return RemoteContent(str(version) if version is not None else None, info.get("size"), store.open(path, "rb"))


def _decoded(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@contextlib.contextmanager
def _failures_explained(url: str, setting: str) -> Iterator[None]:
    """
    Raises:
        UserError: in place of whatever a store raises (dozens of kinds); what it says of the URL is left out.
    """
    try:
        yield
    except ImportError as error:
        missing = error.name or str(error).split("\n")[0]
        raise UserError(
            setting,
            f"{shown_url(url)}: reading it needs a package that is not here ({missing})",
            "install it in startup-hook.sh, or copy the file to where the trial can read it",
        ) from None
    except Exception as error:
        cause = str(error) if isinstance(error, FileNotFoundError) else type(error).__name__
        query = urllib.parse.urlsplit(url).query
        if query and query in cause:
            cause = type(error).__name__
        raise UserError(
            setting,
            f"{shown_url(url)} cannot be read ({cause})",
            "check the address, the connection and, for what is not public, the credentials of the environment",
        ) from None
