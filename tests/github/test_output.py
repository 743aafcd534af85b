"""What is written for a runner, and what a stranger's text cannot write."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlx_publish.github import output
from mlx_publish.text.markdown import cell


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "output"
    monkeypatch.setenv("GITHUB_OUTPUT", str(path))
    return path


def outputs(text: str) -> dict[str, str]:
    """As a runner reads the file: `name<<delimiter`, lines, the delimiter alone."""
    lines, found = iter(text.split("\n")), {}
    for line in lines:
        if "<<" in line:
            name, _, mark = line.partition("<<")
            value: list[str] = []
            while (part := next(lines)) != mark:
                value.append(part)
            found[name] = "\n".join(value)
        elif "=" in line:
            name, _, found[name] = line.partition("=")
    return found


HOSTILE = "x\nend\nEOF\nrepo=evil/model\nrepo<<EOF\nevil/model\nEOF\nend-0000000000000000\nend-"


def test_values_come_back_as_they_were(file: Path) -> None:
    output.write({"verdict": "pass", "card": "a\nb"})
    output.write({"more": ""})
    assert outputs(file.read_text()) == {"verdict": "pass", "card": "a\nb", "more": ""}


def test_a_value_cannot_add_an_output(file: Path) -> None:
    output.write({"verdict": HOSTILE, "commit": "abc"})
    assert outputs(file.read_text()) == {"verdict": HOSTILE, "commit": "abc"}


def test_delimiters_cannot_be_guessed(file: Path) -> None:
    output.write({"a": "1", "b": "2"})
    output.write({"a": "1"})
    marks = re.findall(r"<<(.+)", file.read_text())
    assert len(set(marks)) == 3
    assert all(re.fullmatch(r"end-[0-9a-f]{16}", mark) for mark in marks)


def test_nothing_happens_outside_of_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("GITHUB_OUTPUT", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    output.write({"a": "b"})
    output.annotate("x")
    output.summarize("x")
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_no_values_write_no_file(file: Path) -> None:
    output.write({})
    assert not file.exists()


@pytest.mark.parametrize(
    ("message", "place", "line"),
    [
        ("is wrong", "", "::error::is wrong"),
        ("is wrong", "--bits", "::error::is wrong"),
        ("is wrong", "r.yaml", "::error::is wrong"),
        ("is wrong", "recipes/r.yaml:12", "::error file=recipes/r.yaml,line=12::is wrong"),
        ("a\r\n::set-output name=x::y", "", "::error::a%0D%0A::set-output name=x::y"),
        ("100%25", "", "::error::100%2525"),
        ("x", "a,b:c\n.yaml:3", "::error file=a%2Cb%3Ac%0A.yaml,line=3::x"),
    ],
)
def test_annotations_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], message: str, place: str, line: str
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    output.annotate(message, place)
    assert capsys.readouterr() == ("", line + "\n")


def test_the_summary_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    output.summarize("# One")
    output.summarize("ü")
    assert (tmp_path / "summary").read_text(encoding="utf-8") == "# One\nü\n"


@pytest.mark.parametrize(
    "text", ["https://evil.example/x", "see www.evil.example", "~~struck~~", "$x^2$", "::error::x"]
)
def test_a_cell_makes_no_link_and_no_mark_of_text(text: str) -> None:
    shown = cell(text)
    assert shown.replace("\\", "") == text
    assert not re.search(r"(?<!\\)(://|www\.|[~$])", shown.replace("www\\.", ""))
