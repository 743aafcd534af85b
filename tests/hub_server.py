"""The loopback Hub's side of HTTP: connections, bodies, the log of requests, and faults on demand."""

from __future__ import annotations

import json
import re
import socket
import struct
import sys
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qs, urlsplit

import hub_read  # noqa: F401 - its routes
import hub_write  # noqa: F401 - its routes
from hub_calls import Answer, Call, Site, Token, dispatch, say
from hub_store import HubError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PIECE = 1 << 20
UNKNOWN = "(unknown)"  # the name in the log of a token that is none of ours


@dataclass(frozen=True)
class Request:
    """One request in the log; `received` and `sent` count the bytes of the bodies."""

    method: str
    path: str
    query: str
    token_name: str | None
    status: int
    received: int
    sent: int


@dataclass
class Fault:
    """What goes wrong with the next `times` requests of a method ("*": any) whose path matches a pattern.

    `foreign` lets somebody else commit the file `theirs` first. `corrupt` does the work with another file `theirs` than was
    sent, `rotten` with other bytes on the disk under its digest. `status` answers with that status and does nothing. `cut` ends the connection in good order after
    `after_bytes` of the body, `reset` breaks it there. `flip` changes the byte that lies there, `slow` sends the body in
    pieces of so many bytes. `lost-response` does the work and says nothing. `late` answers with the status and does the
    work all the same.
    """

    method: str
    pattern: str
    times: int = 1
    kind: Literal["status", "cut", "reset", "lost-response", "foreign", "corrupt", "rotten", "late", "flip", "slow"] = (
        "status"
    )
    theirs: str = "theirs.txt"
    after_bytes: int = 0
    status: int = 503
    retry_after: int = 0

    def hits(self, method: str, path: str) -> bool:
        """Whether it is this request's turn."""
        return self.times > 0 and self.method in ("*", method) and re.search(self.pattern, path) is not None

    def answer(self) -> Answer:
        """Answer in place of the Hub."""
        headers = {"Retry-After": str(self.retry_after)} if self.status == 429 or self.retry_after else {}
        return say({"error": f"a fault of the test: {self.status}"}, self.status, headers)


class Desk:
    """What the threads of a server share beside the disk: the log, and the faults to come."""

    def __init__(self, file: Path) -> None:
        self.faults: list[Fault] = []
        self._file = file
        self._log: list[Request] = []
        self._quiet = threading.Condition()
        self._busy = 0

    def log(self) -> list[Request]:
        """All requests that were answered; waits for those that are being answered now."""
        with self._quiet:
            self._quiet.wait_for(lambda: not self._busy, timeout=10)
            return list(self._log)

    def begin(self) -> None:
        """Note that a request came in."""
        with self._quiet:
            self._busy += 1

    def end(self, request: Request | None) -> None:
        """Note that a request is done, and write it down."""
        with self._quiet:
            self._busy -= 1
            if request:
                self._log.append(request)
                with self._file.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(asdict(request)) + "\n")
            self._quiet.notify_all()

    def take_fault(self, method: str, path: str) -> Fault | None:
        """Use up one turn of the first fault that hits a request."""
        with self._quiet:
            fault = next((fault for fault in self.faults if fault.hits(method, path)), None)
            if fault:
                fault.times -= 1
            return fault


class Server(ThreadingHTTPServer):
    """Accepts connections, and remembers them to be able to end them."""

    # Closing joins the threads, so that none of them outlives its test.
    daemon_threads = False
    site: Site

    def __init__(self, port: int, desk: Desk, tokens: tuple[Token, ...]) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.desk = desk
        self.tokens = tokens
        self.connections: set[socket.socket] = set()
        self.closing = False

    def greet(self, connection: socket.socket) -> None:
        """Remember a connection; one that comes too late ends at once."""
        self.connections.add(connection)
        if self.closing:
            self.hang_up()

    def handle_error(self, request: object, client_address: object) -> None:
        """Print what went wrong in here; clients may come and go as they like."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # handed on as it came

    def hang_up(self) -> None:
        """End the connections that clients keep open for later."""
        self.closing = True
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """Reads requests, lets the routes answer, sends; one a connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server
    connection: socket.socket
    _spoiling: Fault | None = None

    def setup(self) -> None:
        super().setup()
        self.server.greet(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def log_message(self, *_: object) -> None:
        """Stay silent: the Hub has its own log."""

    def serve(self) -> None:
        """Answer one request, or fail as a test wants it."""
        desk, request = self.server.desk, None
        spooled = self.server.site.store.incoming / uuid.uuid4().hex
        desk.begin()
        try:
            received, body = self._receive(spooled)
            fault = desk.take_fault(self.command, urlsplit(self.path).path)
            token, answer = self._answer(body, spooled, fault)
            sent = self._send(answer, fault)
            url = urlsplit(self.path)
            request = Request(self.command, url.path, url.query, token, answer.status, received, sent)
        except ConnectionError:  # before the request was complete: there was none
            self.close_connection = True
        finally:
            spooled.unlink(missing_ok=True)
            desk.end(request)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = serve  # noqa: N815 - names of the base class

    def _receive(self, spooled: Path) -> tuple[int, bytes]:
        """Read the body: to a file what goes to the storage, else to memory."""
        if self.command != "PUT" or not self.path.startswith("/storage/"):
            body = b"".join(self._pieces())
            return len(body), body
        if self.server.site.dropping and (upload := self.server.site.uploads.get(self.path.split("/")[2])):
            before = upload.arrived
            for piece in self._pieces():  # the client sends the parts of a file one after the other
                upload.digest.update(piece)
                upload.arrived += len(piece)
            return upload.arrived - before, b""
        with spooled.open("wb") as stream:
            return sum(stream.write(piece) for piece in self._pieces()), b""

    def _pieces(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self._exactly(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", "0"))
        while left:
            piece = self._exactly(min(left, PIECE))
            left -= len(piece)
            yield piece

    def _exactly(self, size: int) -> bytes:
        piece = self.rfile.read(size)
        if len(piece) < size:
            raise ConnectionError("the client went away")
        return piece

    def _answer(self, body: bytes, spooled: Path, fault: Fault | None) -> tuple[str | None, Answer]:
        secret = self.headers.get("Authorization", "").removeprefix("Bearer ")
        token = next((token for token in self.server.tokens if token.secret == secret), None)
        issued, ends = self.server.site.issued.get(secret, (None, 0.0))
        token = issued if issued and time.monotonic() < ends else token
        name = token.name if token else UNKNOWN if secret else None
        if fault and fault.kind == "status":
            return name, fault.answer()
        if fault and fault.kind == "foreign":
            self._commit_of_somebody_else(fault.theirs)
        # The identity of a job is asked for with a token of GitHub, not of the Hub.
        if name == UNKNOWN and urlsplit(self.path).path != "/id-token":
            return name, _refusal(HubError(401, "Invalid credentials in Authorization header"))
        try:
            answer = dispatch(self.command, self._call(token, body, spooled))
            self._spoil(fault)
            answer = fault.answer() if fault and fault.kind == "late" else answer
        except HubError as error:
            return name, _refusal(error)
        except (KeyError, TypeError, ValueError) as error:
            return name, _refusal(HubError(400, f"Malformed request: {error!r}"))
        return name, answer

    def _commit_of_somebody_else(self, path: str) -> None:
        repo = self.server.site.store.find("/".join(urlsplit(self.path).path.split("/")[3:5]))
        if repo:
            with self.server.site.store.lock:
                repo.commit("main", repo.resolve("main").files | {path: repo.keep_regular(b"theirs")}, "theirs")

    def _spoil(self, fault: Fault | None) -> None:
        if not fault or fault.kind not in ("corrupt", "rotten"):
            return
        repo = self.server.site.store.find("/".join(urlsplit(self.path).path.split("/")[3:5]))
        if repo:
            head = repo.resolve("main")
            if fault.kind == "corrupt":
                repo.keep_commit(replace(head, files=head.files | {fault.theirs: repo.keep_regular(b"theirs")}))
            else:
                content = repo.object(head.files[fault.theirs].digest)
                content.write_bytes(content.read_bytes()[:-1] + b"\xff")

    def _call(self, token: Token | None, body: bytes, spooled: Path) -> Call:
        url = urlsplit(self.path)
        headers = {name.title(): text for name, text in self.headers.items()}
        file = spooled if spooled.exists() else None
        return Call(self.server.site, token, url.path, parse_qs(url.query), headers, body, file)

    def _send(self, answer: Answer, fault: Fault | None) -> int:
        """Send an answer, or as much of it as a fault lets through."""
        if fault and fault.kind == "lost-response":
            self.close_connection = True
            return 0
        broken = fault if fault and fault.kind in ("cut", "reset") else None
        self._spoiling = fault if fault and fault.kind in ("flip", "slow") else None
        sent = self._send_up_to(answer, broken.after_bytes if broken else answer.length)
        if broken:
            self._break(broken)
        return sent

    def _send_up_to(self, answer: Answer, limit: int) -> int:
        sent = 0
        try:
            self._send_head(answer)
            for piece in _pieces_of(answer, limit) if self.command != "HEAD" else ():
                for part in _spoiled(piece, sent, self._spoiling):
                    self.wfile.write(part)
                    sent += len(part)
        except ConnectionError:  # a client that went away is in the log with what it got
            self.close_connection = True
        return sent

    def _send_head(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, text in {**answer.headers, "Content-Length": str(answer.length)}.items():
            # Messages can name files in any script, headers cannot.
            self.send_header(name, text.encode("latin-1", "replace").decode("latin-1"))
        self.end_headers()

    def _break(self, fault: Fault) -> None:
        self.close_connection = True
        if fault.kind == "reset":
            # With no time to linger, closing sends RST instead of FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


def _pieces_of(answer: Answer, limit: int) -> Iterator[bytes]:
    """Yield the body, up to a number of bytes."""
    if isinstance(answer.body, bytes):
        yield answer.body[:limit]
        return
    left = min(limit, answer.length)
    with answer.body.path.open("rb") as stream:
        stream.seek(answer.body.start)
        while left and (piece := stream.read(min(left, PIECE))):
            left -= len(piece)
            yield piece


def _spoiled(piece: bytes, at: int, fault: Fault | None) -> Iterator[bytes]:
    """Yield a piece of a body, which begins at `at`, as a fault lets it through."""
    if fault and fault.kind == "flip" and at <= fault.after_bytes < at + len(piece):
        place = fault.after_bytes - at
        yield piece[:place] + bytes([piece[place] ^ 1]) + piece[place + 1 :]
    elif fault and fault.kind == "slow":
        for start in range(0, len(piece), fault.after_bytes):
            time.sleep(0.01)
            yield piece[start : start + fault.after_bytes]
    else:
        yield piece


def _refusal(error: HubError) -> Answer:
    named = {"X-Error-Code": error.code, "X-Error-Message": error.message, "X-Repo-Commit": error.commit}
    return say({"error": error.message}, error.status, {name: text for name, text in named.items() if text})
