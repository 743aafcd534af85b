"""The child process from outside: what it withstands, what it says of it, and that nothing of it stays."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from conftest import Program
from mlx_publish.chat.child import Limits, render_all
from mlx_publish.chat.rendering import Rendered, Request
from mlx_publish.children import limits
from mlx_publish.errors import Bug, PublishError, SurroundingsError

NOW = "2026-03-01T12:00:00"
CONTEXT = {"messages": [{"role": "user", "content": "Hi \u00fc\ud800\u2028"}]}
GOOD = Request("{{ messages[0].content }} {{ strftime_now('%Y') }}", CONTEXT, NOW)
GOOD_TEXT = Rendered("Hi \u00fc\ud800\u2028 2026", None, "text")
NOT_REACHED = Rendered(None, "not rendered, because one before it was unsafe", "not-reached")

SLOW = "it did not end within 3 s"
MEMORY = "it took more than 256 MB of memory"
GROWING = "{% set n = namespace(s='xx') %}{% for a in range(100000) %}{% set n.s = STEP %}{% endfor %}"
UNSAFE = {
    "loops in loops": ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", SLOW),
    "endless filler": ("{{ lipsum(n=10**9) }}", SLOW),
    "a loop over what grows": (
        "{% set n = namespace(s=[1]) %}{% for a in range(99) %}{% for b in n.s %}{% set n.s = n.s + n.s %}{% endfor %}{% endfor %}",
        MEMORY,
    ),
    "growth by joining": (GROWING.replace("STEP", "n.s ~ n.s"), MEMORY),
    "growth by replacing": (GROWING.replace("STEP", "n.s.replace('x', 'xxx')"), MEMORY),
    "product": ("{{ 'x' * 10**10 }}", "a single * in it makes more than 2,000,000 characters"),
    "power": ("{{ 10**(10**10) }}", "a single ** in it makes more than 2,000,000 characters"),
    "center": ("{{ 'x'.center(10**10) }}", MEMORY),
    "center at compile time": ("{{ 'x'|center(10000000000) }}", MEMORY),
    "format": ("{{ '%10000000000d' % 1 }}", MEMORY),
    "format, the other one": ("{{ '{:10000000000}'.format(1) }}", MEMORY),
    "indent": ("{{ [1]|tojson(indent=10**10) }}", MEMORY),
    "join": ("{{ range(99999)|join('x' * 999999) }}", MEMORY),
    "many small pieces": (
        "{% for a in range(99999) %}{% for b in range(99999) %}abc{% endfor %}{% endfor %}",
        "it wrote more than 2,000,000 characters",
    ),
}
BLIND = ("growth by joining", "center", "format")
HARMLESS = {
    "{{ ''.__class__.__mro__ }}": "forbidden",
    "{{ ''.join.__self__ }}": "forbidden",
    "{{ cycler.__init__.__globals__ }}": "forbidden",
    "{{ messages.append(1) }}": "broken",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}": "nested",
}


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """No child, and little memory, whatever a template did."""
    before = psutil.Process().memory_info().rss
    yield
    assert [
        process for process in psutil.Process().children(recursive=True) if "mlx_publish.chat" in process.cmdline()
    ] == []
    assert psutil.Process().memory_info().rss - before < 64 * 10**6


def unsafe(error: str) -> Rendered:
    return Rendered(None, error, "unsafe")


def bad(template: str) -> Request:
    return Request(template, CONTEXT, NOW)


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_template_is_ended(name: str) -> None:
    template, error = UNSAFE[name]
    begun = time.monotonic()
    # Those that are not endless get all the time, so that a busy machine does not change what is said of them.
    answers = render_all([GOOD, bad(template), GOOD, GOOD], Limits(seconds=3) if error == SLOW else Limits())
    assert time.monotonic() - begun < 10
    assert answers == [GOOD_TEXT, unsafe(error), NOT_REACHED, NOT_REACHED]


def test_an_endless_template_is_ended_within_ten_seconds_without_asking() -> None:
    begun = time.monotonic()
    answer = render_all([bad(UNSAFE["loops in loops"][0])])
    assert time.monotonic() - begun < 10
    assert answer == [unsafe("it did not end within 8 s")]


@pytest.mark.parametrize("template", HARMLESS)
def test_a_template_that_stops_by_itself_ends_no_job(template: str) -> None:
    first, second, third = render_all([GOOD, bad(template), GOOD])
    assert (first, second.kind, third) == (GOOD_TEXT, HARMLESS[template], GOOD_TEXT)


def test_every_template_has_an_answer_of_its_own() -> None:
    texts = ["{{ raise_exception('no') }}", "{% if %}", "::error::a\n::set-output name=b::c", "{{ enable_thinking }}"]
    answers = render_all([bad(text) for text in texts])
    assert [answer.kind for answer in answers] == ["refused", "broken", "text", "text"]
    assert answers[2].text == texts[2]


def test_nothing_to_do_starts_nothing(program: Program) -> None:
    program("exit 1")
    assert render_all([]) == []


def test_the_machine_s_clock_is_told_where_no_other_is_given() -> None:
    before = time.localtime().tm_year
    assert before <= int(render_all([Request("{{ strftime_now('%Y') }}", {})])[0].text or "") <= before + 1


def test_texts_that_are_too_much_together() -> None:
    long = bad("{% for a in range(19) %}{{ '\U0001f600' * 99999 }}{% endfor %}")
    answers = render_all([long] * 4)
    assert [answer.kind for answer in answers] == ["text", "text", "unsafe", "not-reached"]
    assert answers[2].error == "it and those before it wrote more than 64 MB"


@pytest.mark.skipif(not Path("/bin/ps").exists(), reason="without ps the outer watch sees nothing")
@pytest.mark.parametrize("name", BLIND)
def test_memory_is_limited_where_the_kernel_does_not_see_to_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(limits, "WATCHED", True)
    assert render_all([GOOD, bad(UNSAFE[name][0]), GOOD]) == [GOOD_TEXT, unsafe(MEMORY), NOT_REACHED]


def test_the_child_sees_no_token(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "GITHUB_TOKEN", "ACTIONS_RUNTIME_TOKEN", "SOMETHING_ELSE"):
        monkeypatch.setenv(name, "secret-of-this-test")
    program(f"env > {tmp_path}/seen; pwd > {tmp_path}/place; exit 1")
    with pytest.raises(Bug):
        render_all([GOOD])
    variables = (tmp_path / "seen").read_text()
    assert "secret-of-this-test" not in variables
    assert "PYTHON" not in variables
    # A module of that name in the folder where the user stands would be imported instead of ours.
    assert (tmp_path / "place").read_text().strip() != str(Path.cwd())


BEGUN = """read -r order
printf '{"said": "limited"}\\n{"said": {"text": "a", "error": null, "kind": "text"}}\\n{"said": {"text": "b'
"""


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ("kill -SEGV $$", f"it was killed by signal {signal.SIGSEGV}"),
        ("kill -KILL $$", f"it was killed by signal {signal.SIGKILL}"),
        ("kill -XCPU $$", "it did not end within 3 s"),
        ("sleep 60", "it did not end within 3 s"),
        ("exit 91", MEMORY),
        ("head -c 70000000 /dev/zero", "it and those before it wrote more than 64 MB"),
    ],
)
def test_the_request_that_was_in_work_is_told_how_the_child_ended(program: Program, end: str, error: str) -> None:
    program(BEGUN + end)
    answers = render_all([GOOD, GOOD, GOOD], Limits(seconds=3))
    assert answers == [Rendered("a", None, "text"), unsafe(error), NOT_REACHED]


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("echo Traceback >&2; echo 'ImportError: no jinja2' >&2; exit 1", Bug, "ended with 1: ImportError: no jinja2"),
        ("exit 0", Bug, "ended with 0"),
        (BEGUN + "exit 0", Bug, "ended with 0"),
        (BEGUN + "exit 1", Bug, "ended with 1"),
        (BEGUN + "echo", Bug, "ended with 94"),
        ("kill -KILL $$", SurroundingsError, "failed with -9"),
        ("sleep 60", SurroundingsError, "failed with 90"),
    ],
)
def test_a_child_that_fails_by_itself_says_nothing_of_a_template(
    program: Program, text: str, error: type[PublishError], words: str
) -> None:
    program(text)
    with pytest.raises(error, match=words):
        render_all([GOOD, GOOD], Limits(seconds=1))


def test_a_python_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(SurroundingsError, match="templates cannot be rendered"):
        render_all([GOOD])


def test_what_the_child_started_ends_with_it(program: Program, tmp_path: Path) -> None:
    program(f"sleep 60 & echo $! > {tmp_path}/started; exit 1")
    with pytest.raises(Bug):
        render_all([GOOD])
    _gone(int((tmp_path / "started").read_text()))


def test_an_interrupt_leaves_no_child(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        while not (tmp_path / "started").exists():
            time.sleep(0.01)
        raise KeyboardInterrupt

    program(f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/started; sleep 60")
    monkeypatch.setattr("mlx_publish.children.worker._Order.judge", interrupted)
    with pytest.raises(KeyboardInterrupt):
        render_all([GOOD])
    _gone(int((tmp_path / "started").read_text()))


def _gone(pid: int) -> None:
    """A process that lost its parent is collected by another one, in its own time."""
    for _ in range(500):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.01)
    pytest.fail(f"process {pid} is still there")
