"""The log of a bug can be pasted into an issue."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from mlx_publish.commands._bug_log import write_log
from mlx_publish.text.masking import without_secrets


@pytest.fixture(autouse=True)
def _aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def broken(words: str) -> Exception:
    def fail() -> None:
        raise ZeroDivisionError(words)

    try:
        fail()
    except ZeroDivisionError as error:
        return error
    return AssertionError()


def test_the_log_has_command_versions_and_trace(tmp_path: Path) -> None:
    path = write_log(broken("it broke"), ["convert", "--source", "a/b"])
    text = path.read_text(encoding="utf-8")
    assert path.parent == tmp_path
    assert "command: mlx-publish convert --source a/b\n" in text
    assert "Python 3." in text
    assert "huggingface-hub: " in text
    assert "ZeroDivisionError: it broke" in text
    assert "in broken" in text
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "secret",
    ["hf_abcdefghijklmnop", "ghp_abcdefghijklmnop", "ghs_abcdefghijklmnop", "github_pat_11ABC_defghijklm"],
)
def test_tokens_are_covered_by_their_form(secret: str) -> None:
    text = write_log(broken(f"bad token '{secret}'"), [f"--source={secret}"]).read_text(encoding="utf-8")
    assert secret not in text
    assert secret[6:] not in text
    assert text.count("***") >= 2


def test_passwords_in_addresses_are_covered() -> None:
    assert without_secrets("at https://me:pass@example.org/x") == "at https://***@example.org/x"
    assert without_secrets("at https://example.org:80/x@y") == "at https://example.org:80/x@y"


@pytest.mark.parametrize("name", ["HF_TOKEN", "MY_SECRET", "DB_PASSWORD", "API_KEY", "my_token"])
def test_secrets_of_the_environment_are_covered_by_their_value(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "correct horse battery")
    assert without_secrets("x correct horse battery y") == "x *** y"


def test_of_two_secrets_that_begin_alike_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "beginning")
    monkeypatch.setenv("B_TOKEN", "beginning-and-end")
    assert without_secrets("x beginning-and-end y beginning z") == "x *** y *** z"


def test_short_and_other_values_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "short")
    monkeypatch.setenv("COLOUR", "vermilion")
    assert without_secrets("short vermilion hf_x") == "short vermilion hf_x"
