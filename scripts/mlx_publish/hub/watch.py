"""How long an upload keeps trying: a watch over every answer of the Hub ends it after too long a time of failing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from mlx_publish.errors import BadInput, SurroundingsError
from mlx_publish.hub.endpoint import guard, guarded_client

PATIENCE = "MLX_PUBLISH_PATIENCE"
PATIENCE_SECONDS = 900.0
_READ_SECONDS = 300.0
_SAY_EVERY = 10.0
_WORTH_TELLING = 10_000_000
_IN_GB = 10_000_000_000
_LATER = frozenset({408, 429, 500, 502, 503, 504})


def patience() -> float:
    """Return for how many seconds the Hub may fail, by the environment. Raises `BadInput` if that is not a number."""
    text = os.environ.get(PATIENCE, "")
    try:
        seconds = float(text) if text else PATIENCE_SECONDS
    except ValueError:
        seconds = -1
    if not 0 < seconds <= 86400:
        raise BadInput(f"'{text}' is not a number of seconds", place=PATIENCE, remedy="Write a number up to 86400.")
    return seconds


class GivenUp(SurroundingsError):
    """The Hub failed for too long, or asks to wait for too long: nothing is tried again in this run."""


@dataclass
class Watch:
    """Counts the time since things began to fail, and the bytes that arrived.

    One good answer ends the counting, so an upload of days is no failure.
    """

    say: Callable[[str], None]
    patience: float = field(default_factory=patience)
    total: int = 0
    """Bytes that are to be sent, for the progress."""
    sent: int = 0
    """Bytes of large files that arrived."""
    large_arrived: bool = False
    """Whether large files arrived; those that travel through Xet make no request here."""
    clock: Callable[[], float] = time.monotonic
    _failing_since: float | None = None
    _reported_at: float = float("-inf")
    _lock: Lock = field(default_factory=Lock)

    @property
    def left(self) -> float:
        """Seconds that failing may still go on."""
        since = self._failing_since
        return self.patience if since is None else self.patience - (self.clock() - since)

    def failed(self) -> None:
        """Begin to count, unless it counts already."""
        with self._lock:
            if self._failing_since is None:
                self._failing_since = self.clock()

    def before(self, request: Any) -> None:
        """Refuse to ask once more after too long a time of failing."""
        if self.left <= 0:
            raise GivenUp(
                f"the Hub failed for {self.patience:.0f} s (last asked: {request.method} {request.url.host})",
                remedy="Run the same command again later; files that the Hub already has are not sent again.",
            )

    def after(self, response: Any) -> None:
        """Count what arrived. Raise `GivenUp` if the Hub asks to wait for too long."""
        if response.status_code in _LATER:
            self.failed()
            wait = retry_after(response.headers)
            if wait is not None and wait > self.left:
                raise GivenUp(
                    f"the Hub answered {response.status_code} and asks for a wait of {wait:.0f} s",
                    remedy="Run the same command again then; files that the Hub already has are not sent again.",
                )
            pause = f" in {wait:.0f} s" if wait else ""
            self.say(f"the Hub answered {response.status_code}; trying again{pause}")
        elif response.status_code < 400:
            self._failing_since = None
            if response.request.method == "PUT":
                self._arrived(int(response.request.headers.get("Content-Length") or 0))

    def _arrived(self, size: int) -> None:
        with self._lock:
            self.sent += size
            now, due = self.clock(), self.clock() - self._reported_at >= _SAY_EVERY
            if not due or self.sent >= self.total or self.total < _WORTH_TELLING:
                return
            self._reported_at = now
        self._say_arrived()

    def reached(self, done: int) -> None:
        """Note that all of the first `done` bytes are there, whichever way they came, and when."""
        with self._lock:
            self.sent, self._reported_at = max(self.sent, done), self.clock()
            told = done < self.total and self.total >= _WORTH_TELLING
        if told:
            self._say_arrived()

    def _say_arrived(self) -> None:
        unit, factor = ("GB", 1e9) if self.total >= _IN_GB else ("MB", 1e6)
        self.say(f"{self.sent / factor:.0f} of {self.total / factor:.0f} {unit} arrived")


def retry_after(headers: Any) -> float | None:
    """Return the seconds of a Retry-After header; None if there is none, or a date."""
    text = str(headers.get("Retry-After") or "").strip()
    return float(text) if text.isdigit() else None


def watched(watch: Watch) -> None:
    """Make huggingface_hub's HTTP client call `watch` for every request, and give it a timeout."""
    from huggingface_hub import set_client_factory  # noqa: PLC0415  0.2 s

    guard()  # what follows takes its place

    def factory() -> Any:
        client = guarded_client()
        hooks = client.event_hooks
        client.event_hooks = {
            "request": [*hooks.get("request", []), watch.before],
            "response": [*hooks.get("response", []), watch.after],
        }
        client.timeout = min(_READ_SECONDS, watch.patience)
        return client

    set_client_factory(factory)
