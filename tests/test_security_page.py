"""docs/security.md names the test that keeps each promise, and each of these tests exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "security.md"
ROW = re.compile(r"^\| (?P<promise>.+?) \| (?P<tests>.+?) \|$")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def promises() -> list[tuple[str, list[tuple[str, str]]]]:
    """The rows of the page's table of promises: words, and the tests that keep them as file and function."""
    text = PAGE.read_text("utf-8").split("## Promises, and the tests that keep them", 1)[1]
    table = [match for line in text.splitlines() if (match := ROW.match(line))]
    return [(one["promise"], TEST.findall(one["tests"])) for one in table if one["promise"] not in ("promise", "---")]


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)}


def test_there_are_promises() -> None:
    assert len(promises()) > 40


@pytest.mark.parametrize(("promise", "tests"), promises())
def test_a_promise_is_kept_by_a_test(promise: str, tests: list[tuple[str, str]]) -> None:
    assert tests, f"no test keeps the promise: {promise}"
    for file, name in tests:
        assert (ROOT / file).is_file(), f"{file} is named for: {promise}"
        assert name in functions(ROOT / file), f"{file} has no {name}, which is named for: {promise}"


def test_every_test_that_is_named_stands_in_a_row() -> None:
    named = re.findall(r"tests/[\w/]+\.py::test_\w+", PAGE.read_text("utf-8"))
    assert sorted(named) == sorted(f"{file}::{name}" for _, tests in promises() for file, name in tests)
