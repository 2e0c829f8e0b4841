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
import functools
import hashlib
import queue
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from tqdm import tqdm

from determined_ner.errors import TemporaryError, UserError, is_busy, kind_of, may_pass
from determined_ner.files.atomic import replacing, write_text
from determined_ner.files.workplace import locked
from determined_ner.masks import without_secrets
from determined_ner.settings.data import DataSettings
from determined_ner.settings.urls import FILES, is_remote

T = TypeVar("T")
BLOCK = 256 << 10
"""Bytes read at a time."""
PATIENCE = 120.0
"""Seconds in which a store has to answer, and to hand out each block: at least about 2 KiB/s."""
MAX_BYTES = 100 << 30
"""Of one file, unpacked as it comes."""
TIMEOUT = (10, 60)
"""Seconds to connect by HTTP, and to wait for the next byte."""
_STORE_IS_AWAY = ("NETWORK_CONNECTION", "SLOW_DOWN", "SERVICE_UNAVAILABLE", "INTERNAL_FAILURE", "Status(UNAVAILABLE")
"""What pyarrow's clients of S3 and Google Cloud Storage say of a store that does not answer."""


class RemoteContent(NamedTuple):
    """What a store hands out for a URL."""

    version: str | None
    """Equal for equal content, such as an ETag; None: the store tells nothing of the kind."""
    size: int | None
    """Bytes; None: unknown."""
    read: Callable[[int], bytes]
    """Gives the next bytes, at most so many; none at the end."""
    close: Callable[[], None]
    html: bool = False
    """Whether the store says that it is a web page."""


def fetch_files(settings: DataSettings, cache_dir: Path, ask: bool = True) -> DataSettings:
    """The settings with a local copy in the place of each remote file.

    Args:
        ask: ask each file's store whether it has changed; else take the copy that is there.

    Raises:
        UserError: a file cannot be fetched.
    """
    fetched: dict[str, Any] = {}
    for name in FILES:
        file = getattr(settings, name)
        if isinstance(file, str) and is_remote(file):
            fetched[name] = str(fetch(file, f"data.{name}", cache_dir, ask))
        elif isinstance(file, dict) and any(is_remote(corpus.file) for corpus in file.values()):
            fetched[name] = {
                corpus: its.model_copy(update={"file": str(fetch(its.file, f"data.{name}.{corpus}", cache_dir, ask))})
                if is_remote(its.file)
                else its
                for corpus, its in file.items()
            }
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
        raise kind_of(error)(
            setting,
            f"{without_secrets(url)} cannot be kept in {target.parent}: {error.strerror or error}",
            "make room or rights, or set data.cache_dir",
        ) from None
    return target


@contextlib.contextmanager
def named_by_url(given: DataSettings, fetched: DataSettings) -> Iterator[None]:
    """Around the reading of fetched files: a mistake in one is of its URL, not of the copy.

    Args:
        fetched: what `fetch_files` made of ``given``.

    Raises:
        UserError: as it was raised, with another place.
    """
    copies = dict(zip(_files_of(fetched), _files_of(given), strict=True))
    try:
        yield
    except UserError as error:
        raise _named_by_url(error, copies) from error


def _files_of(settings: DataSettings) -> list[str]:
    train = [corpus.file for corpus in settings.corpora.values()]
    others = (settings.validation_file, settings.test_file, settings.unlabelled_file)
    return [file for file in (*train, *others) if file is not None]


def _named_by_url(error: UserError, copies: dict[str, str]) -> UserError:
    where = error.where
    for copy, given in copies.items():
        if where == copy or where.startswith(f"{copy}:"):
            where = without_secrets(given) + where.removeprefix(copy)
            break
    return type(error)(where, error.problem, error.remedy, [_named_by_url(one, copies) for one in error.errors])


def _copy_path(url: str, setting: str, root: Path) -> Path:
    """Where the copy of a file lies: its URL without what may be secret; a hash stands for query and parameters.

    Raises:
        UserError: the URL names no file, or is a pattern.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.port  # looked at when it is asked for
    except ValueError:
        remedy = "write https://HOST/PATH, a password with %2F for /, %3F for ? and %23 for #"
        raise UserError(setting, f"{without_secrets(url)} is no valid URL", remedy) from None
    segments = [segment.partition(";") for segment in parts.path.split("/")]
    names = [urllib.parse.unquote(name) for name, _, _ in segments if name]
    if not names or not segments[-1][0] or any(name in (".", "..") or {"/", "\0"} & {*name} for name in names):
        raise UserError(setting, f"{without_secrets(url)} names no file", "write the whole URL of one")
    if any(character in parts.path for character in "*[]"):
        raise UserError(
            setting, f"{without_secrets(url)}: a URL cannot be a pattern", "name one file, or mount the directory"
        )
    host = parts.netloc.rpartition("@")[2]
    secret = "".join([parts.query, *(f";{parameters}" for _, _, parameters in segments if parameters)])
    if secret:
        host += f"-{hashlib.sha256(secret.encode()).hexdigest()[:8]}"
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
                block = _within(PATIENCE, remote.read, BLOCK)
            if copied == 0 and remote.html and block.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
                remedy = "check the address: it may ask for a login, or be of the page that shows the file"
                raise UserError(setting, f"{without_secrets(url)} gives a web page, not a file of data", remedy)
            if not block:
                break
            file.write(block)
            copied += len(block)
            bar.update(len(block))
            if copied > MAX_BYTES:
                remedy = "give several files, or mount the directory"
                raise UserError(setting, f"{without_secrets(url)} has more than {MAX_BYTES >> 30} GiB", remedy)
    if remote.size is not None and copied != remote.size:
        came = f"{without_secrets(url)}: {copied:,} of {remote.size:,} bytes came"
        raise TemporaryError(setting, came, "start again")


@contextlib.contextmanager
def _opened(url: str, setting: str) -> Iterator[RemoteContent]:
    scheme = urllib.parse.urlsplit(url).scheme.lower()
    opener: Callable[[str], RemoteContent] = _open_elsewhere
    if scheme in ("http", "https"):
        opener = _open_http
    elif scheme in ("s3", "gs", "gcs"):
        opener = _open_bucket
    with _failures_explained(url, setting):
        remote = _within(PATIENCE, opener, url)
    try:
        yield remote
    finally:
        with contextlib.suppress(Exception):  # it may be stuck, and whatever it says comes too late
            _within(1.0, remote.close)


def _within(seconds: float, function: Callable[..., T], *arguments: Any) -> T:
    """Call a function that may never return.

    Raises:
        TimeoutError: it did not return in time; its thread is given up, and ends with the process.
    """
    answers: queue.SimpleQueue[tuple[T, None] | tuple[None, BaseException]] = queue.SimpleQueue()

    def call() -> None:
        try:
            answers.put((function(*arguments), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=call, daemon=True).start()
    try:
        result, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"too slow: fewer than {BLOCK >> 10} KiB in {seconds:g} s") from None
    if error is not None:
        raise error
    return cast("T", result)


def _open_http(url: str) -> RemoteContent:
    import requests

    # As it is stored. Some servers compress nevertheless; then the size that they tell is not the file's.
    response = requests.get(url, stream=True, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"})
    packing = response.headers.get("Content-Encoding", "identity").strip().lower()
    problem = None
    if not response.ok:
        problem = f"the server answers {response.status_code} {response.reason}"
    elif packing not in ("identity", "gzip", "x-gzip", "deflate"):
        problem = f"the server packs it by {packing!r}, which is not read"
    if problem:
        response.close()
        raise (ConnectionError if is_busy(response.status_code) else FileNotFoundError)(problem)
    # What is said of train.conll.gz is mostly that the file itself is packed. Its copy is named by the URL asked for,
    # wherever that redirects to; urlparse takes parameters off the name, as the copy does.
    unpack = packing != "identity" and not urllib.parse.urlparse(url).path.lower().endswith(".gz")
    size = response.headers.get("Content-Length")
    modified = response.headers.get("Last-Modified")
    version = response.headers.get("ETag") or (f"{modified} {size}" if modified and size else None)
    return RemoteContent(
        version,
        int(size) if size and not unpack else None,
        functools.partial(response.raw.read, decode_content=unpack),
        response.close,
        "html" in response.headers.get("Content-Type", ""),
    )


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
    return RemoteContent(_decoded(version) if version else None, info.size, stream.read, stream.close)


def _open_elsewhere(url: str) -> RemoteContent:
    """Whatever fsspec knows, such as hf:// of the Hugging Face hub."""
    from fsspec.core import url_to_fs

    store, path = url_to_fs(url)
    info: dict[str, Any] = store.info(path)
    if info.get("type", "file") not in ("file", "link"):
        kind = "a directory" if info["type"] == "directory" else "a pipe or a device, not a regular file"
        raise FileNotFoundError(f"it is {kind}")
    version = next((info[key] for key in ("blob_id", "ETag", "etag", "generation", "md5Hash") if info.get(key)), None)
    if version is None and (modified := info.get("LastModified") or info.get("mtime") or info.get("updated")):
        version = f"{modified} {info.get('size')}"
    stream = store.open(path, "rb")
    return RemoteContent(str(version) if version is not None else None, info.get("size"), stream.read, stream.close)


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
            f"{without_secrets(url)}: reading it needs a package that is not here ({missing})",
            "install it in startup-hook.sh, or copy the file to where the trial can read it",
        ) from None
    except Exception as error:
        ours = isinstance(error, FileNotFoundError | TimeoutError) or type(error) is ConnectionError
        cause = str(error) if ours else type(error).__name__
        query = urllib.parse.urlsplit(url).query
        if query and query in cause:
            cause = type(error).__name__
        temporary = may_pass(error) or any(word in str(error) for word in _STORE_IS_AWAY)
        raise (TemporaryError if temporary else UserError)(
            setting,
            f"{without_secrets(url)} cannot be read ({cause})",
            "check the address, the connection and, for what is not public, the credentials of the environment",
        ) from None
