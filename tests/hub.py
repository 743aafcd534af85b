"""A loopback Hugging Face Hub for tests: the unmodified client downloads from it and uploads to it.

    with Hub(tmp_path / "hub") as hub:
        commit = hub.put("org/model", {"config.json": b"{}"})
        HfApi(hub.endpoint, token=hub.token("write")).create_repo("ada/new")

It keeps everything on disk (hub_store.py), logs what was asked, and can be told to fail. Run as a program
it prints its endpoint and serves until interrupted.
"""

from __future__ import annotations

import argparse
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hub_calls import Site, Token
from hub_server import Desk, Fault, Request, Server
from hub_store import Commit, File, Repo, Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from typing_extensions import Self

__all__ = ["Commit", "Fault", "File", "Hub", "Request", "Token"]

# This Hub has no Xet, and the client reads the switches when it is imported: import this module first.
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

TOKENS = (
    Token("read", "ada", ("lab",), role="read"),
    Token("write", "ada", ("lab",)),
    Token("stranger", "eve"),
    Token("fine", "ada", ("lab",), role="fineGrained", rights=("repo.content.read", "inference.serverless.write")),
    Token("fine and writing", "ada", ("lab",), role="fineGrained", rights=("repo.content.read", "repo.write")),
)


class Hub:
    """The Hub: a context manager that serves while it is open, and the view of a test on its disk."""

    def __init__(
        self,
        root: Path,
        *,
        port: int = 0,
        tokens: Iterable[Token] = TOKENS,
        multipart_above: int = 32 << 20,
        part_size: int = 16 << 20,
        page_size: int = 1000,
        xet: bool = False,
        dropping: bool = False,
        private_bytes: int | None = None,
        token_seconds: float = 3600,
        renewed_before: int = 300,
        cdn: bool = False,
        ranges: bool = True,
    ) -> None:
        self.root = root
        self.tokens = {token.name: token for token in tokens}
        self.store = Store(root)
        self._desk = Desk(root / "requests.jsonl")
        # What is to go wrong: tests append to it.
        self.faults = self._desk.faults
        self._server = Server(port, self._desk, tuple(self.tokens.values()))
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._server.site = Site(
            self.store,
            self.endpoint,
            multipart_above,
            part_size,
            page_size,
            dropping=dropping,
            private_bytes=private_bytes,
            token_seconds=token_seconds,
            renewed_before=renewed_before,
        )
        self.xet = root / ".xet" if xet else None
        self._server.site.xet = self.xet
        self._server.site.ranges = ranges
        # Another port is another server, to which no token may travel.
        self._bytes = Server(0, Desk(root / "bytes.jsonl"), ()) if cdn else None
        if self._bytes is not None:
            self._server.site.cdn = f"http://127.0.0.1:{self._bytes.server_port}"
            self._bytes.site = self._server.site
            self._bytes.desk.faults = self.faults
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="hub")

    def __enter__(self) -> Self:
        self._thread.start()
        if self._bytes is not None:
            threading.Thread(target=self._bytes.serve_forever, args=(0.05,), name="bytes", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in filter(None, (self._server, self._bytes)):
            server.shutdown()
            server.hang_up()
            server.server_close()
        self._thread.join()

    @property
    def bytes_log(self) -> list[Request]:
        """All requests to the server of large files."""
        return self._bytes.desk.log() if self._bytes is not None else []

    def expire(self) -> None:
        """Let the addresses that were given for large files so far be of no use any more."""
        self._server.site.signature += "1"

    def fetched(self) -> int:
        """Bytes of weight files that were sent so far."""
        weights = [request for request in self.log if request.path.endswith(".safetensors")]
        return sum(request.sent for request in (*weights, *self.bytes_log) if request.method == "GET")

    @property
    def slow(self) -> float:
        """Seconds that each piece of a large file takes."""
        return self._server.site.slow

    @slow.setter
    def slow(self, seconds: float) -> None:
        self._server.site.slow = seconds

    @property
    def exchanges(self) -> int | None:
        """How often the identity of a job may still be exchanged; None for always."""
        return self._server.site.exchanges

    @exchanges.setter
    def exchanges(self, count: int | None) -> None:
        self._server.site.exchanges = count

    @property
    def log(self) -> list[Request]:
        """All requests that were answered; waits for those that are being answered now."""
        return self._desk.log()

    def put(
        self,
        repo: str,
        files: Mapping[str, bytes | Path],
        *,
        private: bool = False,
        gated: bool = False,
        message: str = "init",
    ) -> str:
        """Commit files without HTTP, over those that are there; `private` and `gated` are for a new repo."""
        with self.store.lock:
            stored = self.store.find(repo) or self.store.create(repo, private=private, gated=gated)
            before = stored.resolve("main").files if stored.state["heads"] else {}
            added = {
                path: stored.keep(path, source) if isinstance(source, bytes) else stored.keep_path(path, source)
                for path, source in files.items()
            }
            return stored.commit("main", before | added, message).id

    def _repo(self, repo: str) -> Repo:
        stored = self.store.find(repo)
        if stored is None:
            raise KeyError(repo)
        return stored

    def exists(self, repo: str) -> bool:
        """Whether there is such a repository."""
        return self.store.find(repo) is not None

    def head(self, repo: str) -> str:
        """The commit that main points to."""
        return self._repo(repo).resolve("main").id

    def tree(self, repo: str, rev: str = "main") -> dict[str, File]:
        """All files of a revision."""
        return self._repo(repo).resolve(rev).files

    def read(self, repo: str, rev: str, path: str) -> bytes:
        """The content of a file."""
        stored = self._repo(repo)
        return stored.object(stored.resolve(rev).files[path].digest).read_bytes()

    def commits(self, repo: str, rev: str = "main") -> list[Commit]:
        """The history, newest first."""
        return list(self._repo(repo).history(rev))

    def tags(self, repo: str) -> dict[str, str]:
        """The commit of each tag."""
        return dict(self._repo(repo).state["tags"])

    def token(self, name: str) -> str:
        """The secret of a token."""
        return self.tokens[name].secret

    def environment(self, token_name: str | None, home: Path) -> dict[str, str]:
        """The environment for a client process: this Hub, one token or none, nothing of the developer's."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
        switches = ["HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS"]
        switches += [] if self.xet else ["HF_HUB_DISABLE_XET"]
        hub = {"HOME": str(home), "HF_HOME": str(home / "huggingface"), "HF_ENDPOINT": self.endpoint}
        return kept | hub | dict.fromkeys(switches, "1") | ({"HF_TOKEN": self.token(token_name)} if token_name else {})


def main() -> None:
    """Serve a folder until interrupted."""
    parser = argparse.ArgumentParser(description="a loopback Hugging Face Hub for tests")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", action="append", default=[], metavar="REPO=FOLDER")
    asked = parser.parse_args()
    with Hub(asked.root, port=asked.port) as hub, suppress(KeyboardInterrupt):
        for repo, folder in (seed.split("=", 1) for seed in asked.seed):
            files = (path for path in sorted(Path(folder).rglob("*")) if path.is_file())
            hub.put(repo, {path.relative_to(folder).as_posix(): path for path in files})
        print(hub.endpoint, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
