"""What `--help` prints of each command, and that examples work as they stand there."""

from __future__ import annotations

import pytest

from mlx_publish import cli
from mlx_publish.commands import registry
from mlx_publish.commands._command import Group
from mlx_publish.commands._parser import Commands
from mlx_publish.errors import BadInput


def test_the_help_lists_every_command_below_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([])
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    for command in registry().values():
        [at] = [number for number, line in enumerate(lines) if line.startswith(f"  {command.name} ")]
        heading = next(line for line in reversed(lines[:at]) if line and not line.startswith(" "))
        assert heading == f"{command.group.value}:"
    headings = [line.rstrip(":") for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == [*(group.value for group in Group if f"{group.value}:" in lines), "Options"]


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_no_line_of_the_help_is_wider_than_the_terminal(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    parser = Commands()
    for shown in (parser.format_help(), *(own.format_help() for own in parser.parsers.values())):
        prose = [line for line in shown.splitlines() if "mlx-publish" not in line and "http" not in line]
        assert [line for line in prose if len(line) > min(int(columns), 100)] == []


def test_no_flag_may_be_abbreviated() -> None:
    for name, parser in Commands().parsers.items():
        for flag in parser.flags:
            short = flag[:-1]
            if not parser.takes(short):
                with pytest.raises(BadInput, match=f"{name} has no {short}"):
                    parser.judge_flags([short])


def test_every_command_has_a_purpose_an_example_and_json() -> None:
    parsers = Commands().parsers
    for name, command in registry().items():
        shown = parsers[name].format_help().splitlines()
        assert shown[0].startswith(f"usage: mlx-publish {name} "), name
        assert shown[2][0].isupper(), name
        assert command.example.startswith(("mlx-publish ", "source <(mlx-publish ")), name
        assert "\nexample:\n  " in "\n".join(shown), name
        assert command.group.name != "OTHER", name
        assert parsers[name].takes("--json"), name


def test_a_stage_lists_only_its_own_flags() -> None:
    parsers = Commands().parsers
    assert not {"--tag", "--until", "--into", "--private", "--from-env"} & set(parsers["inspect"].flags)
    assert {"--tag", "--private", "--cards"} <= set(parsers["upload"].flags)
    assert {"--until", "--into", "--collection"} <= set(parsers["run"].flags)
    assert parsers["inspect"].takes("--private"), "a form hands on what it has"


def test_examples_are_understood() -> None:
    parser = Commands()
    for command in registry().values():
        for line in command.example.splitlines():
            words = line.split("mlx-publish ", 1)[1].split(" > ")[0].rstrip(")").replace('"', "").split()
            assert parser.parse_args(words).command == command.name, line
