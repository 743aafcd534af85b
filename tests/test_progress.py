"""How far a piece of work has come, from a child to the live line of a terminal."""

from __future__ import annotations

import io
import json
import time
from typing import TextIO, cast

import pytest

from mlx_publish.text.console import Console
from mlx_publish.text.door import Door
from mlx_publish.text.live import fitting
from mlx_publish.text.progress import Paced, Step, clock, counted, from_plain
from recording import ERASE, frames, screen


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    return Terminal()


def console_on(terminal: Terminal) -> Console:
    """Return a console behind a door, as the command line has it."""
    return Console(cast("TextIO", Door(terminal)))


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (Step("loading"), "loading"),
        (Step("converting", 1_200_000_000, 4_800_000_000), "converting, 1.2 of 4.8 GB (25 %)"),
        (Step("digests", 512, 900), "digests, 512 of 900 bytes (56 %)"),
        (Step("reading", 512, 2048, "tokens"), "reading, 512 of 2,048 tokens (25 %)"),
        (Step("more than was thought", 3, 2, "runs"), "more than was thought, 3 of 2 runs (100 %)"),
    ],
)
def test_a_step_says_how_much_of_how_much(step: Step, text: str) -> None:
    assert str(step) == text
    assert from_plain(json.loads(json.dumps(step.plain()))) == step


@pytest.mark.parametrize("data", ["loading", 5, {"what": "x"}, {"what": "x", "done": "many"}, None, ["x"]])
def test_whatever_a_child_says_becomes_a_text(data: object) -> None:
    assert from_plain(data) == str(data)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (7.9, "0:07"), (61, "1:01"), (3723, "1:02:03")])
def test_a_duration(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_child_tells_of_a_piece_of_work_now_and_then() -> None:
    sent: list[object] = []
    tell = Paced(sent.append, pace=60)
    list(counted(range(1000), lambda _: 1, tell, Step("a", 0, 1000, "x")))
    tell("loading")
    list(counted(range(1000), lambda _: 1, tell, Step("b", 0, 1000, "x")))
    assert sent == [Step("a", 0, 1000, "x").plain(), "loading", Step("b", 0, 1000, "x").plain()]


def test_pieces_are_counted_as_they_are_used() -> None:
    told: list[object] = []
    assert list(counted(["ab", "c"], len, told.append, Step("x", 0, 3, "letters"))) == ["ab", "c"]
    assert told == [Step("x", done, 3, "letters") for done in (0, 2, 3)]


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (60, "| convert  converting  25 %  1.2 of 4.8 GB  0:12 left"),
        (45, "| convert  converting  25 %  1.2 of 4.8 GB"),
        (30, "| convert  converting  25 %"),
        (24, "| convert  converting"),
        (15, "| convert  conv"),
    ],
)
def test_a_narrow_line_lacks_the_time_before_the_amount_and_the_amount_before_the_share(
    columns: int, line: str
) -> None:
    assert fitting(["| convert", "converting", "25 %", "1.2 of 4.8 GB", "0:12 left"], columns) == line


def test_the_live_line_shows_the_time_left_and_goes_before_anything_else_is_printed(terminal: Terminal) -> None:
    console, until = console_on(terminal), time.monotonic() + 10
    with console.busy("convert"):
        done = 0
        while "left" not in terminal.getvalue() and time.monotonic() < until:
            done += 1
            console.progress(Step("converting 4bit", done * 10**6, 10**9))
            time.sleep(0.02)
        console.say("a line in between")
        while not terminal.getvalue().rpartition("between\n")[2] and time.monotonic() < until:
            time.sleep(0.02)
    console.say("the end")
    text = terminal.getvalue()
    live = frames(text)
    assert "left" in live[-1] or "left" in live[-2]
    assert [line for line in live if len(line) >= 60] == []
    assert all(line[2:].startswith("convert") for line in live)
    assert text.count(ERASE) == len(live)
    assert screen(text) == ["  a line in between", "  the end", ""]


def test_foreign_text_in_the_live_line_commands_nothing(terminal: Terminal) -> None:
    console = console_on(terminal)
    with console.busy("convert"):
        console.progress(Step("\x1b[2J::error::x\n##[error]y\x07", 1, 2))
        until = time.monotonic() + 5
        while not terminal.getvalue() and time.monotonic() < until:
            time.sleep(0.02)
    text = terminal.getvalue().replace(ERASE, "")
    assert "error" in text
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "##[" not in text
    assert "\n" not in text


def test_a_dumb_terminal_gets_lines(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    console = console_on(terminal)
    with console.busy("convert"):
        console.progress("building the model")
    assert terminal.getvalue() == "  ... building the model\n"
