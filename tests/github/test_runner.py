"""What is written for a runner, and what a stranger's text cannot write."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from mlx_publish.errors import Place, SurroundingsError
from mlx_publish.github.runner import Runner


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "output"


@pytest.fixture
def runner(file: Path) -> Runner:
    return Runner.from_env({"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(file)})


def outputs(text: str) -> dict[str, str]:
    """As a runner reads the file: `name<<delimiter`, lines, the delimiter alone."""
    lines, values = iter(text.split("\n")), {}
    for line in lines:
        if "<<" in line:
            name, _, mark = line.partition("<<")
            value: list[str] = []
            while (part := next(lines)) != mark:
                value.append(part)
            values[name] = "\n".join(value)
        elif "=" in line:
            name, _, values[name] = line.partition("=")
    return values


HOSTILE = "x\nend\nEOF\nrepo=evil/model\nrepo<<EOF\nevil/model\nEOF\nend-0000000000000000\nend-"


def test_values_come_back_as_they_were(file: Path, runner: Runner) -> None:
    runner.write({"verdict": "pass", "card": "a\nb"})
    runner.write({"more": ""})
    assert outputs(file.read_text()) == {"verdict": "pass", "card": "a\nb", "more": ""}


def test_a_value_cannot_add_an_output(file: Path, runner: Runner) -> None:
    runner.write({"verdict": HOSTILE, "commit": "abc"})
    assert outputs(file.read_text()) == {"verdict": HOSTILE, "commit": "abc"}


def test_delimiters_cannot_be_guessed(file: Path, runner: Runner) -> None:
    runner.write({"a": "1", "b": "2"})
    runner.write({"a": "1"})
    marks = re.findall(r"<<(.+)", file.read_text())
    assert len(set(marks)) == 3
    assert all(re.fullmatch(r"end-[0-9a-f]{16}", mark) for mark in marks)


def test_nothing_happens_outside_of_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    nothing = Runner.from_env({})
    assert nothing == Runner()
    nothing.write({"a": "b"})
    nothing.annotate("x")
    nothing.summarize("x")
    nothing.stop("x", "error")
    assert (nothing.builder, nothing.run_address, nothing.files_address("b"), nothing.job_folder) == ("", "", "", None)
    assert nothing.artifacts_address == ""
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_no_values_write_no_file(file: Path, runner: Runner) -> None:
    runner.write({})
    assert not file.exists()


@pytest.mark.parametrize(
    ("message", "place", "line"),
    [
        ("is wrong", Place(), "::error::is wrong"),
        ("is wrong", Place("--bits"), "::error::is wrong"),
        ("is wrong", Place("r.yaml"), "::error::is wrong"),
        ("is wrong", Place("recipes/r.yaml", 12), "::error file=recipes/r.yaml,line=12::is wrong"),
        ("a\r\n::set-output name=x::y", Place(), "::error::a%0D%0A::set-output name=x::y"),
        ("100%25", Place(), "::error::100%2525"),
        ("x", Place("a,b:c\n.yaml", 3), "::error file=a%2Cb%3Ac%0A.yaml,line=3::x"),
    ],
)
def test_annotations_are_one_line(
    runner: Runner, capsys: pytest.CaptureFixture[str], message: str, place: Place, line: str
) -> None:
    runner.annotate(message, place)
    assert capsys.readouterr() == ("", line + "\n")


def test_a_title_and_a_level_stand_before_the_place(runner: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    runner.annotate("is wrong", Place("r.yaml", 2), title="4bit, 8bit: lossy\n::x", level="warning")
    runner.annotate("is wrong", title="refused")
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "::warning title=4bit%2C 8bit%3A lossy%0A%3A%3Ax,file=r.yaml,line=2::is wrong",
        "::error title=refused::is wrong",
    ]


def test_the_summary_grows(tmp_path: Path) -> None:
    runner = Runner(summary=str(tmp_path / "summary"))
    runner.summarize("# One")
    runner.summarize("ü")
    assert (tmp_path / "summary").read_text(encoding="utf-8") == "# One\nü\n"


def test_a_file_that_cannot_be_written_is_the_surroundings_fault(tmp_path: Path) -> None:
    with pytest.raises(SurroundingsError, match="the file that GITHUB_OUTPUT names cannot be written: Is a directory"):
        Runner(output=str(tmp_path)).write({"a": "b"})


def test_a_run_on_github_has_addresses() -> None:
    run = Runner.from_env(
        {
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "lab/models",
            "GITHUB_RUN_ID": "12",
            "GITHUB_WORKFLOW_REF": "lab/models/.github/workflows/publish.yml@refs/tags/tiny/v1",
        }
    )
    assert run.builder == "https://github.com/lab/models/.github/workflows/publish.yml@refs/tags/tiny/v1"
    assert run.run_address == "https://github.com/lab/models/actions/runs/12/attempts/1"
    assert replace(run, attempt="2").run_address.endswith("/attempts/2")
    assert run.artifacts_address == "https://github.com/lab/models/actions/runs/12#artifacts"
    assert run.files_address("mlx-publish/tiny") == "https://github.com/lab/models/blob/mlx-publish/tiny/"


def test_a_folder_of_the_job_is_that_of_a_runner_alone() -> None:
    assert Runner.from_env({"RUNNER_TEMP": "/x"}).job_folder is None
    assert Runner.from_env({"RUNNER_TEMP": "/x", "GITHUB_ACTIONS": "true"}).job_folder == Path("/x")
