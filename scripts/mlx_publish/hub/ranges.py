"""Parts of a repo's files by range requests: several at once, in order, resumed where a connection breaks.

Plain HTTP, for what comes must be seen while it passes; the Hub serves files of Xet so, too. The token goes to the Hub
alone: to the server of the bytes it redirects with an address that is signed, which is kept until it is refused.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from mlx_publish.errors import Interrupted, SurroundingsError
from mlx_publish.hub.client import hub_api, hub_errors
from mlx_publish.hub.watch import PATIENCE, patience, retry_after
from mlx_publish.text.harmless import one_line
from mlx_publish.text.masking import without_secrets
from mlx_publish.text.progress import Step, Tell

PART = 8 << 20
"""Bytes of one request at most. They are in memory until their turn comes, and lost with a kill."""
AT_ONCE = 4
_LEAST, _SHARE = 1 << 18, 256
"""Bytes of one request at least, and into how many parts a smaller file is divided."""
_SECONDS = 20.0
"""After which a server that sends nothing counts as broken."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60.0
_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})
_NO_LONGER = frozenset({401, 403, 404, 410})
"""What the server of the bytes answers where an address has expired."""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_FULL, _PARTIAL, _BEYOND = 200, 206, 416


def part_bytes(size: int) -> int:
    """Return the bytes of one request for a file of so many: what a kill loses of it is little."""
    return min(PART, max(_LEAST, size // _SHARE))


def _arriving(chunks: SimpleQueue[bytes | BaseException]) -> Iterator[bytes]:
    """Yield the bytes of a part as they come."""
    while got := chunks.get():
        if isinstance(got, BaseException):
            raise got
        yield got


class NoRanges(Exception):
    """The server sends whole files alone."""


@dataclass
class Remote:
    """The files of a repo at a commit, as bytes that arrive; one object a run, for several threads."""

    repo: str
    commit: str
    tell: Tell = lambda _: None
    stop: threading.Event = field(default_factory=threading.Event)
    """Once it is set, everything ends with `Interrupted`."""
    lasting: bool = True
    """Whether it asks again where the Hub fails; else its first failure is raised."""
    whole_alone: bool = False
    """Whether the server was found to send whole files alone."""
    _signed: dict[str, str] = field(default_factory=dict)
    """By path, the address to which the Hub redirected last."""
    _open: set[Any] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def some(self, path: str, first: int, last: int, size: int) -> bytes:
        """Return the bytes of a file of `size` bytes from `first` on to before `last`."""
        with contextlib.suppress(NoRanges):
            return b"".join(self._part(path, first, last, size))
        got = bytearray()
        with contextlib.closing(self._whole(path, first, size)) as chunks:
            for chunk in chunks:
                got += chunk
                if len(got) >= last - first:
                    break
        return bytes(got[: last - first])

    def rest(self, path: str, start: int, size: int) -> Iterator[bytes]:
        """Yield the bytes of a file of `size` bytes from `start` to its end, in their order.

        Raises `SurroundingsError` if the Hub fails for longer than the patience, `Interrupted` once `stop` is set.
        """
        with contextlib.suppress(NoRanges):
            for part in () if self.whole_alone else self._parts(path, start, size):
                start += len(part)
                yield part
        yield from self._whole(path, start, size)

    def end(self) -> None:
        """End all that is on its way, also what waits for a server."""
        self.stop.set()
        with self._lock:
            responses = list(self._open)
        for response in responses:
            with contextlib.suppress(Exception):  # whatever a library keeps there
                response.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def _parts(self, path: str, start: int, size: int) -> Iterator[bytes]:
        waiting: deque[SimpleQueue[bytes | BaseException]] = deque()
        step = part_bytes(size)
        for first in range(start, size, step):
            waiting.append(self._ahead(path, first, min(first + step, size), size))
            if len(waiting) >= AT_ONCE:
                yield from _arriving(waiting.popleft())
        while waiting:
            yield from _arriving(waiting.popleft())

    def _ahead(self, path: str, first: int, last: int, size: int) -> SimpleQueue[bytes | BaseException]:
        """Fetch a part beside others; it ends with no bytes. Python does not wait for the thread at its end."""
        chunks: SimpleQueue[bytes | BaseException] = SimpleQueue()

        def fetch() -> None:
            try:
                for chunk in self._part(path, first, last, size):
                    chunks.put(chunk)
                chunks.put(b"")
            except BaseException as error:  # noqa: BLE001  it is raised where one waits
                chunks.put(error)

        threading.Thread(target=fetch, name="range", daemon=True).start()
        return chunks

    def _part(self, path: str, first: int, last: int, size: int) -> Iterator[bytes]:
        """Yield the bytes from `first` on to before `last`, asked for again where the connection broke."""
        patient = _Patience(self)
        while first < last:
            with patient.trying(path), self._answer(path, f"bytes={first}-{last - 1}") as response:
                if response.status_code == _FULL:
                    self.whole_alone = True
                    raise NoRanges
                _judge_range(response, path, (first, last, size))
                for chunk in self._chunks(response):
                    chunk = chunk[: last - first]  # noqa: PLW2901  no server may send more than it was asked for
                    first += len(chunk)
                    patient.went_well()
                    yield chunk
                    if first >= last:
                        return
                patient.broke("the connection ended too early")

    def _whole(self, path: str, start: int, size: int) -> Generator[bytes, None, None]:
        """Yield the bytes from `start` on of a server without ranges: what comes before is thrown away."""
        patient = _Patience(self)
        while start < size:
            at = 0
            with patient.trying(path), self._answer(path, "") as response:
                _judge_whole(response, path, size)
                # Some proxies pack whatever passes, asked or not.
                for chunk in self._chunks(response, unpacked=True):
                    new = chunk[max(0, start - at) : size - at]
                    at += len(chunk)
                    if new:
                        start += len(new)
                        patient.went_well()
                        yield new
                    if start >= size:
                        return
                patient.broke("the connection ended too early")

    def _chunks(self, response: Any, *, unpacked: bool = False) -> Iterator[bytes]:
        for chunk in response.iter_bytes() if unpacked else response.iter_raw():
            if self.stop.is_set():
                raise _stopped()
            yield chunk

    @contextlib.contextmanager
    def _answer(self, path: str, wanted: str) -> Iterator[Any]:
        """Ask for a part of a file, or for all of it; yield a response whose body is still to be read."""
        from huggingface_hub import get_session, hf_hub_url  # noqa: PLC0415  0.2 s
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]  # noqa: PLC0415

        api, signed = hub_api(), self._signed.get(path)
        ranges = {"Accept-Encoding": "identity", **({"Range": wanted} if wanted else {})}
        if signed:
            address, headers = signed, ranges
        else:
            address = hf_hub_url(self.repo, path, revision=self.commit, endpoint=api.endpoint)
            headers = build_hf_headers(
                token=api.token,
                library_name=api.library_name,
                library_version=api.library_version,
                user_agent=api.user_agent,
                headers=ranges,
            )
        if self.stop.is_set():
            raise _stopped()
        with get_session().stream("GET", address, headers=headers, timeout=_SECONDS) as response:
            if signed and response.status_code in _NO_LONGER:
                self._signed.pop(path, None)
                raise _Later("the address of the file expired", 0.0)
            if self.lasting and response.status_code in _LATER:
                raise _Later(f"the Hub answered {response.status_code}", retry_after(response.headers))
            if response.status_code == _BEYOND:
                raise _odd(path, "has fewer bytes than the Hub lists")
            hf_raise_for_status(response)
            if _server(str(response.url)) != _server(api.endpoint):
                self._signed[path] = str(response.url)
            with self._lock:
                self._open.add(response)
            try:
                yield response
            finally:
                with self._lock:
                    self._open.discard(response)


class _Later(Exception):
    """An answer that is none; `seconds` are those that the server asks to wait, if it does."""

    def __init__(self, why: str, seconds: float | None) -> None:
        super().__init__(why)
        self.why, self.seconds = why, seconds


@dataclass
class _Patience:
    """How often something failed on the way, and since when; one good byte ends the counting."""

    remote: Remote
    clock: Callable[[], float] = time.monotonic
    tries: int = 0
    since: float | None = None

    def went_well(self) -> None:
        self.tries, self.since = 0, None

    def broke(self, why: str) -> None:
        raise _Later(why, None)

    @contextlib.contextmanager
    def trying(self, path: str) -> Iterator[None]:
        """Let an attempt fail: wait then, or give up. Raises `SurroundingsError`."""
        from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]  # noqa: PLC0415

        name = f"{self.remote.repo}/{path}"
        try:
            with hub_errors(name):
                try:
                    yield
                except HfHubHTTPError:
                    raise  # an answer, and none that another attempt changes
                except HTTPError as error:  # the HTTP library's: a connection that was not made, or broke
                    if self.remote.stop.is_set():
                        raise _stopped() from None
                    if not self.remote.lasting:
                        raise
                    raise _Broken(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
        except _Broken as error:
            self._wait(name, error.args[0], None)
        except _Later as later:
            self._wait(name, later.why, later.seconds)

    def _wait(self, name: str, why: str, asked: float | None) -> None:
        now = self.clock()
        self.since = now if self.since is None else self.since
        left = patience() - (now - self.since)
        seconds = min(_FIRST_WAIT * 2**self.tries, _LONGEST_WAIT) if asked is None else asked
        self.tries += 1
        words = one_line(without_secrets(why))
        if left <= 0 or seconds > left:
            wait = f" and asks for a wait of {asked:.0f} s" if asked else ""
            raise SurroundingsError(
                f"{name}: {words}{wait}; gave up after {now - self.since:.0f} s",
                remedy=f"Run the same command again later; what arrived is kept. {PATIENCE} sets the seconds to wait.",
                retry_after=asked,
            )
        if seconds:
            self.remote.tell(Step(f"{name}: {words}; trying again in {seconds:.0f} s", stays=True))
        if self.remote.stop.wait(seconds):
            raise _stopped()


class _Broken(Exception):
    """A connection that was not made, or broke."""


def _judge_range(response: Any, path: str, wanted: tuple[int, int, int]) -> None:
    """Raise `SurroundingsError` if an answer is another part than was asked for, or of another file."""
    first, last, size = wanted
    stated = _CONTENT_RANGE.fullmatch(_header(response.headers, "Content-Range"))
    if response.status_code != _PARTIAL or stated is None:
        raise _odd(path, f"came with status {response.status_code} and no range")
    if int(stated[1]) != first or int(stated[2]) > last - 1 or stated[3] not in ("*", str(size)):
        raise _odd(path, f"came as the bytes {one_line(stated[0])}, not {first}-{last - 1}/{size}")
    if not _is_plain(response):
        raise _odd(path, "came packed, which was not asked for")


def _judge_whole(response: Any, path: str, size: int) -> None:
    """Raise `SurroundingsError` if an answer is another file, as the page of a proxy is."""
    length = _header(response.headers, "Content-Length")
    if length.isdecimal() and int(length) != size and _is_plain(response):
        raise _odd(path, f"came as a file of {one_line(length)} bytes, not {size}")


def _is_plain(response: Any) -> bool:
    return _header(response.headers, "Content-Encoding") in ("", "identity")


def _odd(path: str, what: str) -> SurroundingsError:
    return SurroundingsError(f"{path} {what}", remedy="Check the proxy or mirror on the way, then run it again.")


def _header(headers: Mapping[str, str], name: str) -> str:
    return str(headers.get(name) or "").strip()


def _server(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    return parts.scheme, parts.netloc


def _stopped() -> Interrupted:
    return Interrupted("the download was stopped")
