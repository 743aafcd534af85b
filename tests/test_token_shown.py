"""A token with a letter outside of ASCII or a line break is bad input, and is shown in none of its forms."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest

from mlx_publish.commands._bug_log import write_log
from mlx_publish.errors import BadInput
from mlx_publish.hub.client import given_token
from mlx_publish.text.masking import without_secrets
from pipeline import User

SECRETS = {
    "a letter": "hf_sécretsécretsécretsécret",
    "a line break": "hf_secretsecretsecret\nsecondsecondsecond",
    "a carriage return": "hf_secretsecretsecret\rsecondsecondsecond",
    "a blank": "hf_secretsecret secretsecretsecret",
    "a tab": "hf_secretsecret\tsecretsecretsecret",
    "an emoji": "hf_secretsecret\U0001f511secretsecret",
    "an escape": "hf_secretsecret\x1b[31msecretsecret",
    "a byte that is no UTF-8": "hf_secretsecret\udcffsecretsecret",
    "a blank that nobody sees": "hf_secretsecret\u200bsecretsecret",
    "a quote from a shell": "“hf_secretsecretsecretsecret”",
}


@pytest.fixture(params=SECRETS)
def secret(request: pytest.FixtureRequest) -> str:
    return SECRETS[request.param]


def test_it_is_bad_input_that_names_the_variable_and_the_remedy(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", secret)
    with pytest.raises(BadInput) as caught:
        given_token()
    assert str(caught.value.place) == "HF_TOKEN"
    assert "secret" not in str(caught.value) + caught.value.remedy


def test_the_older_variable_is_judged_alike(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", secret)
    with pytest.raises(BadInput, match="HUGGING_FACE_HUB_TOKEN"):
        given_token()


def test_a_line_break_at_the_end_is_no_part_of_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", " hf_abcdefgh\r\n")
    assert given_token() == "hf_abcdefgh"


def test_a_command_ends_with_2_and_shows_nothing_of_it(secret: str, tmp_path: Path) -> None:
    user = User(tmp_path / "home", more={"HF_TOKEN": secret})
    said = user.run("inspect", "--source", "acme/tiny", "--work", tmp_path / "work", code=2).text
    assert "HF_TOKEN: contains a character that is not allowed in a token" in said
    assert "secretsecret" not in said
    assert "sécret" not in said


def forms(text: str) -> list[str]:
    raw = text.encode("utf-8", "surrogateescape")
    return [
        text,
        repr(text),
        ascii(text),
        repr(raw),
        str([text]),
        json.dumps(text),
        json.dumps(text, ensure_ascii=False),
        quote(raw),
        quote(raw, safe=""),
        raw.decode("utf-8", "replace"),
        f"https://x/?token={quote(raw)}&a=b",
    ]


def test_each_form_of_it_is_covered_in_messages_and_in_logs(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", secret)
    for form in forms(secret):
        shown = without_secrets(f"the header b'Bearer {form}' is wrong")
        assert "secretsecret" not in shown, form
        assert "cretsécret" not in shown, form
    log = write_log(ValueError(f"Illegal header value {secret.encode('utf-8', 'surrogateescape')!r}"), ["inspect"])
    assert "secretsecret" not in log.read_text(encoding="utf-8")
    log.unlink()


@pytest.mark.parametrize("char", ['"', "'", "\\", "&", "<", "%", "+", "/"])
def test_a_password_with_a_character_that_is_escaped_is_covered(char: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = f"long{char}password{char}value"
    monkeypatch.setenv("MY_PASSWORD", value)
    for form in forms(value):
        assert "password" not in without_secrets(f"<{form}>")
