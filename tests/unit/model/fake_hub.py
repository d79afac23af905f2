"""A Hugging Face Hub on loopback: what its library asks for, over plain HTTP, with every request recorded."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Seen(NamedTuple):
    """One request as it arrived."""

    method: str
    path: str
    token: str | None


@dataclass
class FakeHub:
    """Serves `repositories` (id to directory) at revisions `main` and `v2`; `secrets` need a token.

    `breaks_on`: the ending of a path that is answered with half a file and a closed connection.
    """

    repositories: dict[str, Path]
    secrets: dict[str, str] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    breaks_on: str | None = None
    seen: list[Seen] = field(default_factory=list)
    endpoint: str = ""

    def files(self) -> set[str]:
        """Names of the files that were downloaded."""
        return {seen.path.split("/resolve/")[1].split("/", 1)[1] for seen in self.seen if self._is_download(seen)}

    def revisions(self) -> set[str]:
        """Revisions of all requests that name one."""
        parts = [seen.path.strip("/").split("/") for seen in self.seen]
        return {
            names[names.index(word) + 1] for names in parts for word in ("revision", "tree", "resolve") if word in names
        }

    @staticmethod
    def _is_download(seen: Seen) -> bool:
        return seen.method == "GET" and "/resolve/" in seen.path

    @contextmanager
    def serve(self) -> Iterator[FakeHub]:
        """Runs until the block ends; `endpoint` is its address."""
        hub = self

        class Handler(_Handler):
            fake = hub

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.endpoint = f"http://127.0.0.1:{server.server_port}"
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            try:
                yield self
            finally:
                server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    fake: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Silence: the requests are recorded."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.fake.seen.append(Seen(self.command, path, token))
        name = next((name for name in self.fake.repositories if f"/{name}/" in f"{path}/"), None)
        if name is None or token != self.fake.secrets.get(name, token):
            self._refuse(401, "RepoNotFound")
        elif name in self.fake.gated:
            self._refuse(403, "GatedRepo")
        elif path.startswith("/api/models/"):
            self._describe(name, path)
        else:
            self._deliver(name, path)

    def _describe(self, name: str, path: str) -> None:
        revision = path.strip("/").split("/")[5] if "/tree/" in path or "/revision/" in path else "main"
        if revision not in ("main", "v2", COMMIT):
            return self._refuse(404, "RevisionNotFound")
        files = sorted(file for file in self.fake.repositories[name].rglob("*") if file.is_file())
        names = [file.relative_to(self.fake.repositories[name]).as_posix() for file in files]
        if "/tree/" in path:
            entries = zip(names, files, strict=True)
            body: object = [
                {"type": "file", "path": each, "size": file.stat().st_size, "oid": _etag(file)}
                for each, file in entries
            ]
        else:
            body = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": each} for each in names]}
        return self._send(json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _deliver(self, name: str, path: str) -> None:
        _, _, rest = path.partition("/resolve/")
        revision, _, file_name = rest.partition("/")
        file = self.fake.repositories[name] / file_name
        if revision not in ("main", "v2", COMMIT):
            return self._refuse(404, "RevisionNotFound")
        if not file.is_file():
            return self._refuse(404, "EntryNotFound")
        headers = {"ETag": f'"{_etag(file)}"', "X-Repo-Commit": COMMIT, "Content-Type": "application/octet-stream"}
        broken = self.fake.breaks_on is not None and path.endswith(self.fake.breaks_on)
        return self._send(file.read_bytes(), headers, broken=broken)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, body: bytes, headers: dict[str, str], *, broken: bool = False) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if broken else body)
        self.close_connection = broken


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
