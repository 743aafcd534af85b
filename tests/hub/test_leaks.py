"""Secrets are found by form and by value, and are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_publish.hub.leaks import leaks

A, N = "a1B2c3D4" * 6, "0123456789" * 6
FORMS = {
    "a Hugging Face token": f"hf_{A[:34]}",
    "a GitHub token": f"ghp_{A[:36]}",
    "an AWS key": "AKIA" + "ABCDEFGH12345678",
    "an OpenAI or Anthropic key": f"sk-ant-{A}",
    "a Google key": f"AIza{A[:35]}",
    "a Slack token": f"xoxb-{N[:24]}",
    "a GitLab token": f"glpat-{A[:20]}",
    "a private key": "-----BEGIN RSA PRIVATE " + "KEY-----",
    "a password in an address": "https://me:hunter2@example.org/x",
}


@pytest.mark.parametrize(("what", "secret"), FORMS.items())
def test_a_secret_is_found_by_its_form_at_its_line(tmp_path: Path, what: str, secret: str) -> None:
    path = tmp_path / "LICENSE"
    path.write_text(f"one\ntwo {secret} here\n")
    assert list(leaks([("LICENSE", path)])) == [f"LICENSE:2: {what}"]


def test_a_secret_is_found_by_its_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "README.md"
    path.write_text("my correct horse battery staple\n")
    monkeypatch.setenv("OTHER_NAME", "correct horse battery")
    assert list(leaks([("README.md", path)])) == []
    monkeypatch.setenv("SOME_PASSWORD", "correct horse battery")
    assert list(leaks([("README.md", path)])) == ["README.md:1: the value of a secret in this environment"]


def test_a_short_value_and_a_path_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"short and {path}\n")
    monkeypatch.setenv("SOME_KEY", "short and")
    monkeypatch.setenv("KEY_FILE", str(path))
    assert list(leaks([("README.md", path)])) == []


def test_of_weights_the_header_is_read_and_the_numbers_are_not(tmp_path: Path) -> None:
    secret = FORMS["a GitHub token"].encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes((2).to_bytes(8, "little") + b"{}" + secret)
    assert list(leaks([(path.name, path)])) == []
    path.write_bytes(len(secret).to_bytes(8, "little") + secret)
    assert list(leaks([(path.name, path)])) == ["model.safetensors:1: a GitHub token"]


def test_a_vocabulary_is_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "vocab.json"
    path.write_text('{"hf_": 1, "sk-": 2, "://": 3, "ghp_": 4, "https://example.org/a@b": 5, "PRIVATE KEY": 6}')
    assert list(leaks([("vocab.json", path)])) == []
