"""A stand-in of the Hugging Face hub's HTTP: accounts, repositories of models, commits, and storage of large files.

It answers what ``huggingface_hub`` asks of the hub to make a repository and to upload a folder, and keeps every byte
that it was sent.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub.constants
import pytest

TOKEN = "hf_" + "SecretOfTheLogin" * 2
USER = "ada"
LARGE = (".safetensors", ".onnx", ".bin")


@dataclass
class Repository:
    """A repository of a model."""

    private: bool
    writable: bool = True
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    """Their messages."""


@dataclass
class Hub:
    """What the hub has, and what it was told."""

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    """Large files, by their checksum."""
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    """Method, path, headers and body of each request."""
    broken: bool = False
    """Whether it answers commits with an error."""

    @property
    def received(self) -> bytes:
        """All that came, less the header of the login, which is the hub's own."""
        return b"\n".join(
            repr((method, path, {n: v for n, v in headers.items() if n.lower() != "authorization"})).encode() + body
            for method, path, headers, body in self.asked
        ) + b"".join(content for repository in self.repositories.values() for content in repository.files.values())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        self.hub.asked.append((self.command, self.path, dict(self.headers), body))
        if path.startswith("/store/"):  # another host, which is never told the login
            assert "Authorization" not in self.headers
            self.hub.stored[path.removeprefix("/store/")] = body
            self._answer(200, {})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid username or password."})
        else:
            self._answer(*self._api(path, body))

    def _api(self, path: str, body: bytes) -> tuple[int, Any]:
        repositories = self.hub.repositories
        if path == "/api/whoami-v2":
            return 200, {"type": "user", "name": USER, "orgs": [], "auth": {"type": "access_token"}}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or USER}/{asked['name']}"
            if name in repositories:
                return 409, {"error": "You already created this model repo", "url": f"{self.hub.address}/{name}"}
            if not name.startswith(f"{USER}/"):
                return 403, {"error": f"You don't have the rights to create a model under the namespace {name}"}
            private = asked.get("private", False) or asked.get("visibility") == "private"
            repositories[name] = Repository(private)
            return 200, {"url": f"{self.hub.address}/{name}", "name": name}
        if path.endswith(".git/info/lfs/objects/batch"):
            found = json.loads(body)["objects"]
            links = [{"upload": {"href": f"{self.hub.address}/store/{one['oid']}"}} for one in found]
            objects = [{**one, "actions": actions} for one, actions in zip(found, links, strict=True)]
            return 200, {"transfer": "basic", "objects": objects}
        _, _, _, namespace, name, *rest = path.split("/")
        repository = repositories.get(f"{namespace}/{name}")
        if repository is None:
            return 404, {"error": "Repository not found"}
        return self._repository(f"{namespace}/{name}", repository, rest, body)

    def _repository(self, name: str, repository: Repository, rest: list[str], body: bytes) -> tuple[int, Any]:
        if not rest or rest[0] == "revision":
            siblings = [{"rfilename": file} for file in repository.files]
            return 200, {"id": name, "private": repository.private, "siblings": siblings, "tags": [], "sha": "0" * 40}
        if rest[0] == "tree":
            return 200, [{"type": "file", "path": f, "oid": "0", "size": len(c)} for f, c in repository.files.items()]
        if not repository.writable:
            return 403, {"error": "Forbidden: you don't have write access"}
        if rest[0] == "preupload":
            asked = json.loads(body)["files"]
            return 200, {"files": [{**_mode(file["path"]), "shouldIgnore": False} for file in asked]}
        assert rest[0] == "commit", rest
        if self.hub.broken:
            return 400, {"error": "the stand-in takes no commit"}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            match line["key"]:
                case "header":
                    repository.commits.append(value["summary"])
                case "file":
                    repository.files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    repository.files[value["path"]] = self.hub.stored[value["oid"]]
                case "deletedFile":
                    del repository.files[value["path"]]
        return 200, {"commitUrl": f"{self.hub.address}/{name}/commit/0", "commitOid": "0" * 40, "success": True}

    def _answer(self, status: int, said: Any) -> None:
        content = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _mode(path: str) -> dict[str, str]:
    return {"path": path, "uploadMode": "lfs" if path.endswith(LARGE) else "regular"}


def words_in(told: bytes, words: Iterable[str]) -> list[str]:
    """Those that stand there by themselves: letters in a row come about in any picture or compressed file."""
    return [word for word in words if re.search(rb"(?<![A-Za-z0-9+/])" + word.encode() + rb"(?![A-Za-z0-9+/=])", told)]


@contextmanager
def standing_in() -> Iterator[Hub]:
    """Serve, on a port of this machine."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, to which the hub's library goes, in this process, its copies, and those that it starts."""
    with standing_in() as hub:
        for name, value in (("ENDPOINT", hub.address), ("HF_HUB_OFFLINE", False), ("HF_HUB_DISABLE_XET", True)):
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        environment = {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield hub
