"""Text from elsewhere commands neither a terminal nor a runner."""

from __future__ import annotations

import io
import time

import pytest

from mlx_publish.evidence.report import Finding
from mlx_publish.github.runner import Runner
from mlx_publish.text.console import WIDTH, Console
from mlx_publish.text.harmless import harmless, plain
from runner_commands import runs

HOSTILE = (
    "::set-output name=repo::evil/model",
    "  ::add-mask::x",
    "\u2003::error::indented by a wide blank",
    "\u00ad::error::behind a soft hyphen",
    "\u200b:\u200b:error::between blanks of no width",
    "text\n::warning::on the second line",
    "text\r::warning::after a return",
    "text\u2028::warning::after a line separator",
    "see ##[add-path]/tmp in the middle",
    "see #\u00ad#[add-path]/tmp with a soft hyphen",
    "x" * (WIDTH - 27) + "::warning::where a long word is folded",
    "x" * (WIDTH - 6) + "::warning::where an answer is folded",
    "word " * 14 + " ::stop-commands::where a line is folded",
)


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.mark.parametrize("text", HOSTILE)
def test_no_line_is_a_command(out: io.StringIO, text: str) -> None:
    assert any(runs(text[start:]) for start in range(len(text)))
    console = Console(out)
    console.say(text)
    console.quote(text)
    console.progress(text)
    console.heading("smoke", text)
    console.finding(Finding("loads", "fail", text, text))
    lines = out.getvalue().split("\n")
    assert len(lines) > 5
    assert [line for line in lines if runs(line)] == []


@pytest.mark.parametrize("text", HOSTILE)
def test_text_stays_readable(text: str) -> None:
    assert harmless(text).replace("\\", "") == text


@pytest.mark.parametrize("text", ["std::vector", "a # b", "## Heading", "[1]: x", "a: b", ": x"])
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert harmless(text) == text
    assert plain(text) == text


@pytest.mark.parametrize(
    "char", ["\x00", "\x07", "\x08", "\x1b", "\r", "\x7f", "\x9b", "\x85", "\u202e", "\u202a", "\u2066", "\u2069"]
)
def test_control_characters_and_reversed_text_become_visible(out: io.StringIO, char: str) -> None:
    assert plain(f"a{char}b") == "a\ufffdb"
    console = Console(out)
    console.quote(f"a{char}[31mb")
    console.finding(Finding("loads", "warn", f"a{char}b", f"c{char}d"))
    console.progress(f"a{char}b")
    console.say(f"a{char}b")
    assert char not in out.getvalue()
    assert "b" in out.getvalue()


def test_line_feeds_and_tabs_stay() -> None:
    assert plain("a\n\tb ü 🌒") == "a\n\tb ü 🌒"


def test_findings_show_id_status_and_the_next_step_where_there_is_one_to_take(out: io.StringIO) -> None:
    console = Console(out)
    console.finding(Finding("licence", "fail", "the licence is unknown", "Write one."))
    console.finding(Finding("stops", "pass", "it stops", "not shown"))
    assert out.getvalue().splitlines() == [
        "  FAIL  licence            the licence is unknown",
        "                           Next: Write one.",
        "  ok    stops              it stops",
    ]


def test_an_answer_stands_behind_a_bar(out: io.StringIO) -> None:
    Console(out).quote("one\n\n" + "word " * 30)
    lines = out.getvalue().splitlines()
    assert lines[:2] == ["    | one", "    | "]
    assert all(line.startswith("    | ") and len(line) <= WIDTH for line in lines)


def test_long_work_tells_that_it_goes_on(out: io.StringIO) -> None:
    with Console(out).busy("convert", every=0.005):
        until = time.monotonic() + 2
        while "still at convert" not in out.getvalue() and time.monotonic() < until:
            time.sleep(0.005)
    printed = out.getvalue()
    assert "  ... still at convert, for 0 s\n" in printed
    time.sleep(0.02)
    assert out.getvalue() == printed


@pytest.mark.parametrize("text", HOSTILE)
def test_on_a_runner_what_passed_is_folded_and_nothing_else_commands(out: io.StringIO, text: str) -> None:
    console = Console(out, Runner(obeys=True).group)
    for folded in (True, False):
        with console.section("smoke", text, folded=folded):
            console.say(text)
    lines = out.getvalue().split("\n")
    commands = [line for line in lines if runs(line)]
    assert [line.split("::")[1] for line in commands] == ["group", "endgroup"]
    assert commands[0].startswith("::group::smoke  ")


@pytest.mark.parametrize("text", HOSTILE)
def test_elsewhere_a_section_is_a_heading(out: io.StringIO, text: str) -> None:
    for console in (Console(out), Console(out, Runner().group)):
        with console.section("smoke", text, folded=True):
            console.say(text)
    lines = out.getvalue().split("\n")
    assert len([line for line in lines if line.startswith("smoke  ")]) == 2
    assert [line for line in lines if runs(line)] == []


def test_a_group_ends_where_something_breaks(out: io.StringIO) -> None:
    console = Console(out, Runner(obeys=True).group)
    with pytest.raises(ValueError, match="broken"), console.section("smoke", "x", folded=True):
        raise ValueError("broken")
    assert out.getvalue() == "::group::smoke  x\n::endgroup::\n"
