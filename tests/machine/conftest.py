"""Macs that answer from `recorded`: what their programs print, written down after documented formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mlx_publish.machine import programs
from mlx_publish.machine.programs import Run

RECORDED = Path(__file__).parent / "recorded"
OWN = 700


def transcript(name: str) -> dict[str, str]:
    """Outputs by command: a line of `$` and a command, then what it printed."""
    found: dict[str, str] = {}
    command = ""
    for line in (RECORDED / f"{name}.txt").read_text(encoding="utf-8").splitlines(keepends=True):
        if line.startswith("$ "):
            found[command := line[2:].strip()] = ""
        else:
            found[command] += line
    return found


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Run]:
    """Make the `run` of a recorded Mac, on which this process has the number 700."""
    monkeypatch.setattr(programs, "getpid", lambda: OWN)

    def answering(name: str) -> Run:
        answers = transcript(name)

        def run(command: Sequence[str]) -> str:
            return answers.get(" ".join(command), "")

        return run

    return answering
