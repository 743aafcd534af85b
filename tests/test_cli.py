"""Arguments in, exit code out, nothing raised."""

from __future__ import annotations

import errno
import signal
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlx_publish import __version__, cli
from mlx_publish.children.engine import Children
from mlx_publish.commands import _run as commands
from mlx_publish.commands import registry
from mlx_publish.commands._arguments import RECIPE_FLAGS
from mlx_publish.errors import BadInput, Interrupted, Refused, SurroundingsError, in_file


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder to stand in, no inputs of an action, no runner, and the signal handler as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Namespace, dict[str, str]]]:
    """What the command would be run with."""
    found: list[tuple[Namespace, dict[str, str]]] = []

    def run(options: Namespace, flags: dict[str, str], until: str | None, *_: object) -> int:
        options.until = until
        found.append((options, flags))
        return 0

    monkeypatch.setattr(commands, "run_command", run)
    return found


@pytest.fixture
def breaks(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Let the command raise something."""

    def let(error: BaseException) -> None:
        def run(*_: object) -> int:
            raise error

        monkeypatch.setattr(commands, "run_command", run)

    return let


@pytest.mark.parametrize("command", [name for name, command in registry().items() if command.computes])
def test_every_command_takes_a_recipe_and_all_its_flags(command: str, asked: list[Any]) -> None:
    words = [word for name in RECIPE_FLAGS for word in (f"--{name.replace('_', '-')}", f"<{name}>")]
    assert (
        cli.main([command, *words, "--variant", "4bit,6bit", "--variant", "8bit", "--work", "w", "--force", "--json"])
        == 0
    )
    ((options, flags),) = asked
    assert flags == {name: f"<{name}>" for name in RECIPE_FLAGS}
    assert (options.command, options.variant, options.work, options.force, options.json) == (
        command,
        ["4bit", "6bit", "8bit"],
        Path("w"),
        True,
        True,
    )


def test_defaults(asked: list[Any]) -> None:
    cli.main(["run", "--source", "a/b"])
    ((options, flags),) = asked
    assert flags == {"source": "a/b"}
    assert (options.work, options.until, options.recipe, options.variant) == (Path("work"), "card", None, None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dance"], "error: unknown command dance\n  next: Run: mlx-publish --help"),
        (["--recipe", "x", "run"], "error: the command comes first, before --recipe"),
        (["run", "--nonsense"], "error: mlx-publish run has no --nonsense\n  next: Run: mlx-publish run --help"),
        (["inspect", "--until", "card"], "error: mlx-publish inspect has no --until"),
        (["run", "--tag", "x"], "error: mlx-publish run has no --tag"),
        (["run", "--work"], "error: --work: needs a value\n  next: Write --work DIR: work folder (default: work)."),
        (["plan"], "error: --event-name, --event, --ref: missing"),
    ],
)
def test_wrong_arguments_end_with_2(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize("words", [[], ["--version"], ["--help"], ["help", "run"], ["run", "--help"], ["run", "-h"]])
def test_help_and_version(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 0
    assert (f"mlx-publish {__version__}" if words == ["--version"] else "usage: mlx-publish") in capsys.readouterr().out


def fill(monkeypatch: pytest.MonkeyPatch, **given: str) -> None:
    for key, value in given.items():
        monkeypatch.setenv(f"MLX_PUBLISH_INPUT_{key.upper()}", value)


def test_inputs_of_the_action_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, asked: list[Any]) -> None:
    fill(
        monkeypatch,
        source=" a/b\n",
        bits="8",
        group_size="32",
        notes="$(rm -rf /)",
        revision="  ",
        work="w",
        variant="8bit, 4bit",
        force="true",
        until="convert",
    )
    cli.main(["run", "--from-env"])
    ((options, flags),) = asked
    assert flags == {"source": "a/b", "bits": "8", "group_size": "32", "notes": "$(rm -rf /)"}
    assert (options.work, options.variant, options.force, options.until) == (
        Path("w"),
        ["8bit", "4bit"],
        True,
        "convert",
    )


def test_flags_win_over_the_environment(monkeypatch: pytest.MonkeyPatch, asked: list[Any]) -> None:
    fill(monkeypatch, source="a/b", work="w", until="upload", variant="8bit", recipe="e.yaml", tag="e", force="false")
    cli.main(
        [
            "run",
            "--from-env",
            "--source",
            "c/d",
            "--work",
            "v",
            "--until",
            "card",
            "--variant",
            "4bit",
            "--recipe",
            "f.yaml",
            "--force",
        ]
    )
    cli.main(["publish", "--from-env", "--tag", "f"])
    cli.main(["publish", "--from-env"])
    (options, flags), (tagged, _), (other, _) = asked
    assert flags == {"source": "c/d"}
    assert (options.work, options.until, options.variant) == (Path("v"), "card", ["4bit"])
    assert (options.recipe, options.force) == (Path("f.yaml"), True)
    assert (tagged.tag, other.tag, other.force) == ("f", "e", False)


def test_the_environment_is_not_read_unasked(monkeypatch: pytest.MonkeyPatch, asked: list[Any]) -> None:
    fill(monkeypatch, source="a/b")
    cli.main(["run"])
    assert asked[0][1] == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "error: neither --recipe nor --source is given"),
        (["run", "--source", "a/b", "--bits", "7"], "error: --bits: input should be 2, 3, 4, 5, 6 or 8 (given: 7)"),
        (["run", "--source", "a/b", "--until", "x"], "error: --until: there is no stage x"),
        (["run", "--source", "a/b", "--variant", "x"], "error: --variant: there is no variant x"),
        (["run", "--recipe", "r.yaml", "--bits", "4"], "error: --bits: the recipe defines this already"),
        (["run", "--recipe", "none.yaml"], "error: none.yaml: recipe not found"),
        (
            ["plan", "--event-name", "push", "--event", "none.json", "--ref", "x"],
            "error: none.json: cannot be read: No such file or directory",
        ),
    ],
)
def test_bad_input_ends_with_2(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    assert capsys.readouterr().err.splitlines()[0] == said


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Refused("it is broken", remedy="Mend it."), 1, "error: it is broken\n  next: Mend it.\n"),
        (BadInput("is wrong", place=in_file("r.yaml", 3), key="to"), 2, "error: r.yaml:3: to: is wrong\n"),
        (SurroundingsError("no network"), 4, "error: no network\n"),
        (Interrupted("enough"), 130, "error: enough\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "work/x"),
            4,
            "error: No space left on device (work/x)\n  next: Free or unlock it, then run the same command again.\n",
        ),
        (PermissionError(errno.EACCES, "Permission denied"), 4, "error: Permission denied\n  next: Free or unlock"),
    ],
)
def test_every_error_has_its_exit_code(
    breaks: Callable[[BaseException], None],
    error: BaseException,
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    breaks(error)
    assert cli.main(["run"]) == code
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize("error", [ZeroDivisionError("hf_abcdefghijkl"), FileNotFoundError(errno.ENOENT, "x")])
def test_a_bug_ends_with_3_and_a_log(
    breaks: Callable[[BaseException], None], error: Exception, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    breaks(error)
    assert cli.main(["run", "--source", "a/b"]) == 3
    (log,) = tmp_path.glob("mlx-publish-*.log")
    said = capsys.readouterr().err
    assert said.startswith(f"error: this is a bug in mlx-publish: {type(error).__name__}: ")
    assert f"  next: report it with the log {log}" in said
    text = log.read_text(encoding="utf-8")
    assert "command: mlx-publish run --source a/b" in text
    assert type(error).__name__ in text
    assert "hf_abcdefghijkl" not in text + said


@pytest.mark.parametrize("kind", [Refused, BadInput, ZeroDivisionError])
def test_an_error_commands_neither_terminal_nor_runner(
    breaks: Callable[[BaseException], None], kind: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    breaks(kind("x\n::set-output name=repo::evil\n  ::error::y\x1b[31m ##[add-path]z"))
    cli.main(["run"])
    said = capsys.readouterr().err
    assert [line for line in said.splitlines() if line.lstrip().startswith("::") or "##[" in line] == []
    assert "\x1b" not in said
    assert "set-output name=repo" in said


def test_a_source_that_carries_a_command_is_shown_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "--source", "a/b\n::add-mask::x"]) == 2
    said = capsys.readouterr().err
    assert "a/b\\n::add-mask::x" in said
    assert "\n::" not in said


def test_in_a_job_an_error_is_an_annotation_at_its_line(
    breaks: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    breaks(BadInput("is wrong\nthere", place=in_file("r.yaml", 3), key="to"))
    assert cli.main(["run"]) == 2
    assert (
        "::error title=mlx-publish%3A bad input,file=r.yaml,line=3::to: is wrong%0Athere\n" in capsys.readouterr().err
    )


def test_in_a_job_each_wrong_line_of_a_recipe_has_its_annotation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text("source: a/b\nlicense: Apache 2.0\nlanguage: [en, english]\ncolour: blue\n")
    assert cli.main(["inspect", "--recipe", "r.yaml"]) == 2
    said = capsys.readouterr().err
    assert [line.rpartition("::")[0] for line in said.splitlines() if line.startswith("::error ")] == [
        f"::error title=mlx-publish%3A bad input,file=r.yaml,line={line}" for line in (2, 3, 4)
    ]
    assert "\nr.yaml:4: colour: unknown key\n" in said


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (Refused("not ```your``` repo hf_abcdefghijkl", remedy="Ask."), "refused"),
        (BadInput("is wrong", place=in_file("r.yaml", 3)), "error"),
        (SurroundingsError("no answer"), "error"),
        (KeyboardInterrupt(), "error"),
        (ZeroDivisionError("x"), "error"),
    ],
)
def test_in_a_job_what_stopped_it_is_its_verdict_and_ends_its_summary(
    breaks: Callable[[BaseException], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: BaseException,
    verdict: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("OUTPUT", "STEP_SUMMARY"):
        monkeypatch.setenv(f"GITHUB_{name}", str(tmp_path / name))
    (tmp_path / "OUTPUT").write_text("verdict<<end\npass\nend\n")
    breaks(error)
    cli.main(["run"])
    written = (tmp_path / "OUTPUT").read_text().splitlines()
    assert written[:3] == ["verdict<<end", "pass", "end"]
    assert written[4] == verdict
    heading, _, fence, *lines, closing = (tmp_path / "STEP_SUMMARY").read_text().rstrip().splitlines()
    assert heading == f"### mlx-publish: {verdict}"
    assert (fence.strip("`"), closing.strip("`")) == ("text", "")
    assert lines == capsys.readouterr().err.rstrip().splitlines()
    assert "hf_abcdefghijkl" not in "".join(lines)


@pytest.mark.parametrize(("command", "early"), [("run", ["convert"]), ("convert", ["convert"]), ("card", [])])
def test_what_will_convert_lets_mlx_load_at_once_and_leaves_no_child(
    command: str, early: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    seen: list[Any] = []
    monkeypatch.setattr(Children, "start", lambda _self, op: started.append(op))

    def end(self: Children) -> None:
        seen.append(self)

    monkeypatch.setattr(Children, "end", end)

    def run(*given: object) -> int:
        seen.append(given[-1])
        return 0

    monkeypatch.setattr(commands, "run_command", run)
    assert cli.main([command]) == 0
    assert started == early
    assert len(seen) == 2
    assert seen[0] is seen[1]


def test_a_terminated_job_ends_like_an_interrupted_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    monkeypatch.setattr(commands, "run_command", run)
    assert cli.main(["run"]) == 130
