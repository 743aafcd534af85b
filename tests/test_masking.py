"""What this process knows as secrets, beside what tests/test_failure.py shows of messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_publish.text import masking
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
