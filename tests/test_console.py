"""Text from elsewhere commands neither a terminal nor a runner."""

from __future__ import annotations

import io
import re
import time
from typing import TextIO, cast

import pytest

from mlx_publish.evidence.report import Finding
from mlx_publish.github.runner import Runner
from mlx_publish.text.console import WIDTH, Console, Level
from mlx_publish.text.door import Door
from mlx_publish.text.harmless import harmless, plain
from mlx_publish.text.progress import Step
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


@pytest.mark.parametrize("columns", ["40", "60", "69"])
def test_where_it_is_narrow_a_message_stands_below_the_id(
    out: io.StringIO, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    Console(out).finding(
        Finding("a-very-long-id-of-a-check", "fail", "word " * 20, "Write one, as in the docs."), "4bit"
    )
    lines = out.getvalue().splitlines()
    assert lines[0] == "  FAIL  a-very-long-id-of-a-check"
    assert lines[1].startswith("        4bit: word word")
    assert max(map(len, lines)) <= int(columns)
    assert "Next: Write one" in out.getvalue()


MIXED = (
    Finding("a", "pass", "a is so"),
    Finding("b", "pass", "b is so"),
    Finding("c", "skip", "c is not looked at"),
    Finding("d", "warn", "d is odd"),
    Finding("e", "fixed", "e was mended"),
    Finding("f", "fail", "f is wrong", "Mend f."),
    Finding("g", "skip", "not looked at, because of f", details={"because_of": "f"}),
)


def test_what_is_fine_is_counted_and_failures_come_first(out: io.StringIO) -> None:
    console = Console(out)
    console.findings(MIXED, "4bit, 8bit")
    assert [line.split()[:2] for line in out.getvalue().splitlines()] == [
        ["FAIL", "f"], ["Next:", "Mend"], ["warn", "d"], ["fixed", "e"], ["1", "check"],
    ]  # fmt: skip
    assert "4bit, 8bit: f is wrong" in out.getvalue()
    assert "  1 check not looked at, because of f\n" in out.getvalue()
    assert console.rest(MIXED) == "2 checks passed, 1 skipped"


@pytest.mark.parametrize(
    ("statuses", "words"),
    [
        (["pass"], "1 check passed"),
        (["pass"] * 24 + ["skip"] * 2, "24 checks passed, 2 skipped"),
        (["skip"], "1 check skipped"),
        (["warn"], ""),
        ([], ""),
    ],
)
def test_the_count_of_the_rest_in_words(statuses: list[str], words: str) -> None:
    assert Console(io.StringIO()).rest([Finding("x", status, "x") for status in statuses]) == words  # type: ignore[arg-type]


def test_quiet_prints_failures_and_the_verdict_alone(out: io.StringIO) -> None:
    console = Console(out, level=Level.QUIET)
    console.heading("smoke", "x")
    console.say("said")
    console.quote("quoted")
    console.progress("doing")
    console.ended("pass", "ended")
    console.made("4bit", "a card")
    console.next("a command")
    console.findings(MIXED)
    with console.busy("smoke", every=0.001):
        time.sleep(0.02)
    console.verdict("1 of 2 refused", "fail")
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["FAIL", "Next:", "1"]


def test_verbose_prints_all(out: io.StringIO) -> None:
    console = Console(out, level=Level.VERBOSE)
    console.findings(MIXED)
    assert [line.split()[0] for line in out.getvalue().splitlines()] == [
        "FAIL", "Next:", "ok", "ok", "skip", "warn", "fixed", "1",
    ]  # fmt: skip
    assert console.rest(MIXED) == ""


def test_a_number_and_its_unit_are_not_parted(out: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    for length in range(20, 40):
        Console(out).ended("pass", f"{'x' * length} 12.5 s")
    assert not [line for line in out.getvalue().splitlines() if line.strip() == "s" or line.endswith("12.5")]


@pytest.mark.parametrize("text", HOSTILE)
def test_with_colours_no_line_is_a_command_and_no_code_is_foreign(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    inner = io.StringIO()
    console = Console(cast("TextIO", Door(inner)))
    hostile = f"{text}\x1b[2J\x1b]0;title\x07"
    console.heading("smoke", hostile)
    console.findings([Finding("loads", "fail", hostile, hostile), Finding("x", "warn", text)], hostile)
    console.ended("fail", hostile)
    console.verdict(hostile, "fail")
    console.made(hostile, hostile)
    console.next(hostile, hostile)
    printed = inner.getvalue()
    assert "\x1b[1;31m" in printed
    assert re.findall(r"\x1b(?!\[\d{1,2}(?:;\d{1,2})*m)", printed) == []
    assert "\x07" not in printed
    uncoloured = re.sub(r"\x1b\[[\d;]*m", "", printed)
    assert [line for line in (*printed.split("\n"), *uncoloured.split("\n")) if runs(line)] == []


def test_a_message_to_keep_is_a_line_of_its_own(out: io.StringIO) -> None:
    console = Console(out)
    with console.busy("convert"):
        console.progress(Step("convert was killed by signal 9; retrying", stays=True))
    assert out.getvalue() == "  warn  convert was killed by signal 9; retrying\n"


def test_in_a_log_each_piece_of_work_is_named_once_and_reminders_say_how_far_it_is(out: io.StringIO) -> None:
    console = Console(out)
    with console.busy("convert", every=0.6):
        for done in range(0, 50, 10):
            console.progress(Step("converting 4bit", done * 10**6, 80 * 10**6))
            console.progress(Step("converting 8bit", done * 10**6, 80 * 10**6))
        until = time.monotonic() + 2
        while "still at" not in out.getvalue() and time.monotonic() < until:
            time.sleep(0.005)
    lines = out.getvalue().splitlines()
    assert lines[:2] == ["  ... converting 4bit", "  ... converting 8bit"]
    assert set(lines[2:]) == {"  ... still at convert, for 1 s: converting 8bit, 40.0 of 80.0 MB (50 %)"}


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


def test_a_name_with_hyphens_is_not_cut_where_a_line_ends(out: io.StringIO) -> None:
    for length in range(40):
        Console(out).finding(Finding("x", "fail", "a", f"{'y' * length} run 'mlx-publish card'"))
    assert not [line for line in out.getvalue().splitlines() if line.endswith("-")]
