"""What this process knows as secrets, beside what tests/test_failure.py shows of messages."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TextIO, cast

import pytest

from mlx_publish.text import masking
from mlx_publish.text.console import Console
from mlx_publish.text.door import Door
from mlx_publish.text.masking import learn, secret_values, without_secrets

NOISE = "a1B2c3D4" * 5


@pytest.fixture(autouse=True)
def _nothing_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_learned", set())


def test_an_exchanged_token_is_covered_by_its_form() -> None:
    assert without_secrets(f"sent hf_jwt_{NOISE}.{NOISE}.{NOISE}, refused") == "sent ***, refused"


def test_short_values_and_paths_that_exist_are_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT_KEY", "seven77")
    monkeypatch.setenv("KEY_FILE", str(tmp_path))
    monkeypatch.setenv("KEY_FILE_ABSENT", str(tmp_path / "absent"))
    secrets = secret_values()
    assert ("seven77" in secrets, str(tmp_path) in secrets, str(tmp_path / "absent") in secrets) == (False, False, True)


def test_a_secret_that_stands_in_no_variable_is_learned() -> None:
    learn("exchanged-for-an-hour")
    learn("short")
    assert without_secrets("got exchanged-for-an-hour, short") == "got ***, short"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:pass@hub.example/a/b", "https://***@hub.example/a/b"),
        ("https://opaque-token@hub.example/a/b", "https://***@hub.example/a/b"),
        ("https://a@b@hub.example/a", "https://***@hub.example/a"),
        ("https:/me:pass@hub.example/a: there is no such recipe", "https:/***@hub.example/a: there is no such recipe"),
        ("ssh://git@github.com/lab/kit", "ssh://git@github.com/lab/kit"),
        ("hf://lab/model@main", "hf://lab/model@main"),
        ("'kit @ git+https://github.com/lab/kit@v1'", "'kit @ git+https://github.com/lab/kit@v1'"),
        ('["https://hub.example","me@hub.example"]', '["https://hub.example","me@hub.example"]'),
    ],
)
def test_what_stands_before_the_host_of_an_address_is_a_secret(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_whatever_a_console_prints_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "of-no-known-form-1234")
    stream = io.StringIO()
    door = Door(stream)
    console = Console(cast("TextIO", door))
    for text in ("of-no-known-form-1234", "https://me:pass@hub.example/a/b"):
        console.say(text)
        console.progress(f"inspecting {text}")
        console.heading("init", text)
        console.verdict(text)
        console.next(text)
        door.ours(text)
        door.live(text)
    door.finish()
    assert stream.getvalue().count("***") == 14
    assert "of-no-known-form" not in stream.getvalue()
    assert "me:pass" not in stream.getvalue()
