"""A command is one module: whoever adds it finds it on the command line, among the sessions and in the Action's way."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlx_publish import cli, commands
from mlx_publish.commands import registry
from mlx_publish.evidence.stages import NAMES

ROOT = Path(__file__).parents[1]
TOY = """
from pathlib import Path

from mlx_publish.commands._arguments import add_from_env
from mlx_publish.commands._command import Command, Group


def add_arguments(parser):
    parser.add_argument("--size", type=int)
    parser.add_argument("--place", type=Path, default=Path("here"))
    parser.add_argument("--loud", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--since")
    add_from_env(parser)


def run(options, console):
    console.say(f"{options.size} {options.place} {options.loud} {options.quiet} {options.since} {len(options.inputs)}")
    return 7


COMMAND = Command(
    "toy", "play with a toy", 15, add_arguments, run, inputs={"since": "day", "quiet": ""}, group=Group.STAGES
)
"""
LIST = """
import sys
from mlx_publish import commands
commands.__path__.append(sys.argv.pop())
from nox import main
main()
"""
MADE = """
import sys
from mlx_publish import commands
commands.__path__.append(sys.argv.pop())
import generate
print(generate.action_file())
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module more of the package."""
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "_helper.py").write_text("raise RuntimeError('a helper is no command')\n")
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "mlx_publish.commands.toy", raising=False)
    return tmp_path


def test_it_runs_and_its_result_is_the_exit_code(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["toy", "--size", "3", "--since", "monday"]) == 7
    assert capsys.readouterr().out == "  3 here False False monday 0\n"


def test_it_is_listed_at_its_place(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    [at] = [number for number, line in enumerate(lines) if line.split() == ["toy", "play", "with", "a", "toy"]]
    assert lines[at - 1].split()[0] == "card"
    assert lines[at + 1].split()[0] == "upload"


def test_inputs_of_the_action_stand_in_for_what_is_not_given(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = {"SIZE": "4", "PLACE": "there", "LOUD": "true", "QUIET": "true", "SINCE": "monday", "DAY": " sunday "}
    for name, text in inputs.items():
        monkeypatch.setenv(f"MLX_PUBLISH_INPUT_{name}", text)
    cli.main(["toy"])
    # A default stays, an input of another option's name is that of nobody, and one that is not wanted is not taken.
    cli.main(["toy", "--from-env"])
    cli.main(["toy", "--from-env", "--size", "5"])
    monkeypatch.setenv("MLX_PUBLISH_INPUT_LOUD", "yes")
    cli.main(["toy", "--from-env", "--since", "friday"])
    assert capsys.readouterr().out.splitlines() == [
        "  None here False False None 0",
        "  4 here True False sunday 6",
        "  5 here True False sunday 6",
        "  4 here False False friday 6",
    ]


def test_it_has_a_session_of_nox(toy: Path) -> None:
    command = [sys.executable, "-c", LIST, "--list", "--noxfile", str(ROOT / "noxfile.py"), str(toy)]
    environment = {"PYTHONPATH": str(ROOT / "scripts"), "PATH": "/usr/bin:/bin", "HOME": str(toy)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    sessions = dict(re.findall(r"^[-*] ([\w-]+) -> (.*)$", done.stdout, re.MULTILINE))
    assert sessions["toy"] == "mlx-publish toy -- ...; needs no MLX"
    assert {name for name, one in registry().items() if one.extras is not None} <= set(sessions)
    assert "hook" not in sessions


def test_the_action_runs_it(toy: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MADE, str(toy)],
        env={"PYTHONPATH": f"{ROOT / 'scripts'}", "PATH": "/usr/bin:/bin", "HOME": str(toy)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "card | toy | upload" in done.stdout


def test_every_stage_is_a_command_in_the_order_of_the_stages() -> None:
    assert tuple(name for name in registry() if name in NAMES) == NAMES


def test_commands_are_known_without_any_library_of_others() -> None:
    # nox reads them in an environment that has nothing but nox, and each start of the command line waits for them.
    listing = "import sys; sys.path.insert(0, sys.argv[1]); from mlx_publish import cli; print(*cli.parser().commands)"
    command = [sys.executable, "-I", "-S", "-c", listing, str(ROOT / "scripts")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, list(registry())), done.stderr
