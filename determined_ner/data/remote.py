"""Files that lie elsewhere, at a URL, in a bucket or on the hub: fetched once, and again when they have changed.

Everything behind this room reads files. A file keeps its name, by which its format is told, in a place made of its
URL: ``CACHE/downloads/https/example.com/corpus/train.conll``.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from filelock import FileLock
from tqdm import tqdm

from determined_ner.errors import UserError
from determined_ner.settings.data import DataSettings
from determined_ner.settings.urls import FILES, is_remote, shown_url

BLOCK = 1 << 20
TIMEOUT = (10, 60)
"""Seconds to connect, and to wait for the next bytes."""

Remote = tuple[str | None, int | None, IO[bytes]]
"""What names a file's content (None: nothing does), its bytes (None: not told), and a stream of them."""


def fetch_files(settings: DataSettings, cache_dir: Path, ask: bool = True) -> DataSettings:
    """The settings with a local copy in the place of each remote file.

    Args:
        ask: where it lies whether a file has changed; else take the copy that is there.

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
    """The local copy of one remote file; arguments as of `fetch_files`.

    Args:
        setting: that names the file, for messages.
    """
    target = _place(url, setting, cache_dir / "downloads")
    partial, told = target.with_name(f".{target.name}.partial"), target.with_name(f".{target.name}.version")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if target.exists() and not ask:
                return target
            before = told.read_text(encoding="utf-8") if target.exists() and told.exists() else None
            with _opened(url, setting) as (version, size, stream):
                if version is None or version != before:
                    try:
                        _copy(stream, partial, size, url, setting)
                        told.unlink(missing_ok=True)  # or a stop before its renewal would name other content by it
                        partial.replace(target)
                    finally:
                        partial.unlink(missing_ok=True)
                    if version is not None:
                        told.write_text(version, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{setting}: {shown_url(url)} cannot be kept in {target.parent}: {error.strerror or error}; "
            f"make room or rights, or set data.cache_dir"
        ) from None
    return target


def _place(url: str, setting: str, root: Path) -> Path:
    """Where the copy of a file lies: its URL less what may be secret, user and query, of which a hash tells."""
    parts = urllib.parse.urlsplit(url)
    names = [urllib.parse.unquote(name) for name in parts.path.split("/") if name]
    if not names or parts.path.endswith("/") or any(name in (".", "..") or "/" in name for name in names):
        raise UserError(f"{setting}: {shown_url(url)} names no file; write the whole URL of one")
    if any(character in parts.path for character in "*[]"):
        raise UserError(
            f"{setting}: {shown_url(url)}: a URL cannot be a pattern; name one file, or mount the directory"
        )
    host = parts.netloc.rpartition("@")[2]
    if parts.query:
        host += f"-{hashlib.sha256(parts.query.encode()).hexdigest()[:8]}"
    return root.joinpath(parts.scheme.lower(), *([host] if host else []), *names)


def _copy(stream: IO[bytes], partial: Path, size: int | None, url: str, setting: str) -> None:
    got = 0
    name = partial.name.removeprefix(".").removesuffix(".partial")
    with (
        partial.open("wb") as file,
        tqdm(total=size, unit="B", unit_scale=True, desc=name, disable=None, dynamic_ncols=True) as bar,
    ):
        while block := _explained(lambda: stream.read(BLOCK), url, setting):
            file.write(block)
            got += len(block)
            bar.update(len(block))
    if size is not None and got != size:
        raise UserError(f"{setting}: {shown_url(url)}: {got:,} of {size:,} bytes came; start again")


@contextlib.contextmanager
def _opened(url: str, setting: str) -> Iterator[Remote]:
    scheme = urllib.parse.urlsplit(url).scheme.lower()
    opener: Callable[[str], Remote] = _open_elsewhere
    if scheme in ("http", "https"):
        opener = _open_http
    elif scheme in ("s3", "gs", "gcs"):
        opener = _open_bucket
    remote = _explained(lambda: opener(url), url, setting)
    try:
        yield remote
    finally:
        remote[2].close()


def _open_http(url: str) -> Remote:
    import requests

    # As it is stored: what is compressed for the journey alone would have another size.
    response = requests.get(url, stream=True, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"})
    if not response.ok:
        response.close()
        raise FileNotFoundError(f"the server answers {response.status_code} {response.reason}")
    size = response.headers.get("Content-Length")
    modified = response.headers.get("Last-Modified")
    version = response.headers.get("ETag") or (f"{modified} {size}" if modified and size else None)
    return version, int(size) if size else None, response.raw


def _open_bucket(url: str) -> Remote:
    """S3 and Google Cloud Storage, with the credentials of the environment."""
    from pyarrow import fs

    store, path = fs.FileSystem.from_uri(re.sub("^gcs:", "gs:", url))
    info = store.get_file_info(path)
    if info.type != fs.FileType.File:
        raise FileNotFoundError("there is no such file in the bucket")
    stream = store.open_input_stream(path, compression=None)
    told = {str(key): value for key, value in (stream.metadata() or {}).items()}
    version = told.get("ETag") or told.get("Generation") or (info.mtime_ns and f"{info.mtime_ns} {info.size}")
    return (_text(version) if version else None), info.size, stream


def _open_elsewhere(url: str) -> Remote:
    """Whatever fsspec knows, such as hf:// of the Hugging Face hub."""
    from fsspec.core import url_to_fs

    store, path = url_to_fs(url)
    info: dict[str, Any] = store.info(path)
    if info.get("type") == "directory":
        raise FileNotFoundError("it is a directory")
    version = next((info[key] for key in ("blob_id", "ETag", "etag", "generation", "md5Hash") if info.get(key)), None)
    if version is None and (modified := info.get("LastModified") or info.get("mtime") or info.get("updated")):
        version = f"{modified} {info.get('size')}"
    return (str(version) if version is not None else None), info.get("size"), store.open(path, "rb")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _explained(action: Callable[[], Any], url: str, setting: str) -> Any:
    """
    Raises:
        UserError: in place of whatever a store raises (dozens of kinds); what it says of the URL is left out.
    """
    try:
        return action()
    except ImportError as error:
        missing = error.name or str(error).split("\n")[0]
        raise UserError(
            f"{setting}: {shown_url(url)}: reading it needs a package that is not here ({missing}); "
            f"install it in startup-hook.sh, or copy the file to where the trial can read it"
        ) from None
    except Exception as error:
        said = str(error) if isinstance(error, FileNotFoundError) else type(error).__name__
        if urllib.parse.urlsplit(url).query and urllib.parse.urlsplit(url).query in said:
            said = type(error).__name__
        raise UserError(
            f"{setting}: {shown_url(url)} cannot be read ({said}); check the address, the connection and, for what is "
            f"not public, the credentials of the environment"
        ) from None
