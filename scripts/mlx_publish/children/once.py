"""A child that does one order and ends, as each does that is shown what a stranger wrote."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlx_publish.children.environment import of_a_child
from mlx_publish.children.worker import Bounds, Ended, Worker
from mlx_publish.text.temporary import TemporaryFolder

_LONGEST = 64 * 10**6  # bytes of a log


@dataclass
class Outcome:
    """What a child reported and answered, how it ended (0 where it answered), and what it printed."""

    reports: list[Any] = field(default_factory=list)
    answer: Any = None
    code: int = 0
    printed: str = ""

    @property
    def last_line(self) -> str:
        """What it printed last, which is most often why it failed."""
        return self.printed.strip().rpartition("\n")[2]


def do_once(
    command: Sequence[str],
    order: Mapping[str, object],
    bounds: Bounds,
    stop: threading.Event | None = None,
    **variables: str,
) -> Outcome:
    """Start a child, whose environment has `variables` besides, for one order; nothing outlives it, nor `stop`."""
    aside, outcome = TemporaryFolder(), Outcome()
    with Worker(aside, command, of_a_child(aside.path, **variables), log := aside.path / "log") as worker:
        try:
            outcome.answer = worker.do(order, bounds, outcome.reports.append, stop)
        except Ended as end:
            outcome.code = end.code
        with log.open("rb") as file:
            outcome.printed = file.read(_LONGEST).decode(errors="replace")
    return outcome
