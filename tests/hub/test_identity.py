"""In whose name is published, known from the environment alone."""

from __future__ import annotations

import pytest

from mlx_publish.errors import Refused
from mlx_publish.hub.client import given_token
from mlx_publish.hub.identity import judge_resource, resource, writing_token

REPO = "ada/Model"
VARIABLES = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_OIDC_RESOURCE",
    "HF_OIDC_ID_TOKEN",
    "GITHUB_ACTIONS",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
)


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_a_token_of_the_environment_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "old")
    assert (given_token(), writing_token(REPO)) == ("old", "old")
    monkeypatch.setenv("HF_TOKEN", " new\n")
    assert (given_token(), writing_token(REPO)) == ("new", "new")


@pytest.mark.parametrize("blank", ["", " \n"])
def test_without_a_token_nobody_writes(monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    monkeypatch.setenv("HF_TOKEN", blank)
    assert (given_token(), resource()) == (None, None)
    with pytest.raises(Refused, match="no token to publish with") as caught:
        writing_token(REPO)
    assert (caught.value.check, "HF_TOKEN" in caught.value.remedy) == ("destination-writable", True)


def test_a_trusted_publisher_is_one_for_its_own_repo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_OIDC_RESOURCE", "ada/Other")
    monkeypatch.setenv("HF_OIDC_ID_TOKEN", "an identity")
    with pytest.raises(Refused, match="names ada/Other, but this job publishes ada/Model") as caught:
        judge_resource(REPO)
    assert caught.value.check == "destination-writable"


@pytest.mark.parametrize(
    "job", [{}, {"GITHUB_ACTIONS": "true"}, {"ACTIONS_ID_TOKEN_REQUEST_URL": "http://job"}], ids=str
)
def test_a_job_without_an_identity_cannot_exchange_it(monkeypatch: pytest.MonkeyPatch, job: dict[str, str]) -> None:
    for name, value in {"HF_OIDC_RESOURCE": REPO, **job}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Refused, match="no OIDC identity to exchange") as caught:
        judge_resource(REPO)
    assert "id-token: write" in caught.value.remedy


@pytest.mark.parametrize(
    "job",
    [
        {"HF_OIDC_ID_TOKEN": "an identity"},
        {"GITHUB_ACTIONS": "true", "ACTIONS_ID_TOKEN_REQUEST_URL": "http://job"},
    ],
    ids=str,
)
def test_a_job_with_an_identity_may(monkeypatch: pytest.MonkeyPatch, job: dict[str, str]) -> None:
    for name, value in {"HF_OIDC_RESOURCE": REPO, **job}.items():
        monkeypatch.setenv(name, value)
    judge_resource(REPO)
