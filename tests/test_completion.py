"""Completion in a shell offers what the parser takes, and nothing else; each script runs in its own shell."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from mlx_publish import cli
from mlx_publish.commands import registry
from mlx_publish.commands._completion import script
from mlx_publish.commands._parser import Commands
from mlx_publish.commands.completion import SHELLS
from mlx_publish.evidence.stages import NAMES

BASH = """
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_mlx_publish
printf '%s\\n' "${COMPREPLY[@]}"
"""
# What zsh's own functions would be given, since they need a terminal.
ZSH = """
compdef() { : }
compadd() { shift; print -rl -- "$@" }
_describe() { print -rl -- ${${(P)2}%%:*} }
_files() { : }
source "$1"; shift
words=("$@") CURRENT=$# PREFIX=${@[-1]}
_mlx_publish
"""
FISH = 'source $argv[1]; complete -C "$argv[2..]"'
CASES = [
    (["insp"], {"inspect"}),
    (["inspect", "--vari"], {"--variant", "--variants"}),
    (["inspect", "--tag"], set()),
    (["upload", "--ta"], {"--tag", "--target-bpw"}),
    (["run", "--until", "fi"], {"fidelity"}),
    (["run", "--mode", "mx"], {"mxfp4", "mxfp8"}),
    (["run", "--private", "t"], {"true"}),
    (["run", "--recipe", "recipes/s"], {"recipes/small.yaml"}),
    (["run", "--recipe", "recipes/small.yaml", "--variant", ""], {"4bit", "mxfp4", "bf16"}),
    (["run", "--recipe", "small", "--variant", "4"], {"4bit"}),
    (["hook", "mlx-c"], {"mlx-card", "mlx-chat-template"}),
    (["completion", "f"], {"fish"}),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe, and the scripts beside it."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/small.yaml").write_text(
        "source: a/b\nvariants:\n  - 4bit\n  - mxfp4\n  - bf16\nto: a/c-{variant}\n"
    )
    (tmp_path / "scripts").mkdir()
    parser = Commands()
    for shell in SHELLS:
        (tmp_path / "scripts" / shell).write_text(script(shell, parser))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def offered(shell: str, code: str, here: Path, words: list[str]) -> set[str]:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell}")
    plain = {"bash": ["--norc", "-c", code, "bash"], "zsh": ["-f", "-c", code, "zsh"], "fish": ["-N", "-c", code]}
    done = subprocess.run(
        [program, *plain[shell], str(here / "scripts" / shell), "mlx-publish", *words],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(here), "PATH": "/usr/bin:/bin:/usr/local/bin:/opt/homebrew/bin"},
    )
    assert done.stderr == ""
    names = {line.split("\t")[0] for line in done.stdout.splitlines() if line.strip()}
    # zsh itself leaves out what does not begin so.
    return {name for name in names if name.startswith(words[-1])}


@pytest.mark.parametrize(("words", "names"), CASES)
@pytest.mark.parametrize(("shell", "code"), [("bash", BASH), ("zsh", ZSH), ("fish", FISH)])
def test_a_shell_offers_what_the_parser_takes(
    here: Path, shell: str, code: str, words: list[str], names: set[str]
) -> None:
    assert offered(shell, code, here, words) == names


HOSTILE = ["$(touch ran)", "`touch ran`", "<(touch ran)", "${x[$(touch ran)]}", "a;touch ran;", "a b", "'", '"', "*"]


@pytest.mark.parametrize(("shell", "code"), [("bash", BASH), ("zsh", ZSH), ("fish", FISH)])
def test_the_name_of_a_file_is_offered_and_never_run(here: Path, shell: str, code: str) -> None:
    recipe = "source: a/b\nvariants: [4bit, $(touch ran), `touch ran`]\n"
    for name in HOSTILE:
        (here / f"recipes/{name}.yaml").write_text(recipe)
    (here / "-ftouch.sed").write_text(recipe)
    (here / "touch.sed").write_text("1e touch ran\n")
    names = {f"recipes/{name}.yaml" for name in (*HOSTILE, "small")}
    assert offered(shell, code, here, ["run", "--recipe", "recipes/"]) == names
    for recipe_name in (f"recipes/{HOSTILE[0]}.yaml", "-ftouch.sed"):
        assert "4bit" in offered(shell, code, here, ["run", "--recipe", recipe_name, "--variant", ""])
    offered(shell, code, here, ["run", "--cards", ""])
    offered(shell, code, here, ["hook", "mlx-card", ""])
    assert not (here / "ran").exists()


def test_every_command_and_every_flag_of_the_help_is_completed() -> None:
    parser = Commands()
    for shell in SHELLS:
        text = script(shell, parser)
        assert [name for name in registry() if name not in text] == []
        flags = {flag for own in parser.parsers.values() for flag in own.flags}
        assert [flag for flag in sorted(flags) if flag[2:] not in text] == []
        assert "--from-env" not in text
        assert all(stage in text for stage in NAMES)


def test_the_command_prints_the_script_and_names_the_shells(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "bash"]) == 0
    text = capsys.readouterr().out
    assert text == script("bash", Commands())
    assert cli.main(["completion", "zsh", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["script"] == script("zsh", Commands())
    assert cli.main(["completion", "zhs"]) == 2
    assert "error: SHELL: 'zhs' is not known; did you mean zsh?" in capsys.readouterr().err
