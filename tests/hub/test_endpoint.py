"""Without TLS no token travels to another machine, and nothing is published there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from hub import Hub
from mlx_publish.errors import BadInput, SurroundingsError
from mlx_publish.github import relay
from mlx_publish.hub.endpoint import before_request, guarded_client, has_tls, is_loopback
from models import make_model
from pipeline import User

SCRIPTS = str(Path(__file__).parents[2] / "scripts")
TOKEN = "hf_" + "abcd" * 8
FAR = (
    "http://hub.invalid",
    "http://127.0.0.1.evil.invalid",
    "http://localhost.evil.invalid",
    "http://127.0.0.1@evil.invalid",
    "http://localhost:80@evil.invalid",
    "http://evil.invalid#@127.0.0.1",
    "http://evil.invalid?127.0.0.1",
    "http://127.0.0.1\\@evil.invalid",
    "http://10.0.0.1",
    "http://0.0.0.0",
    "http://169.254.1.1",
    "http://[::2]",
    "http://[::ffff:10.0.0.1]",
    "http://127.1",
    "http://2130706433",
    "http://0x7f.0.0.1",
    "http://0177.0.0.1",
    "http://128.0.0.1",
    "http://localhost%2eevil.invalid",
    "http://127.0.0.1%00.evil.invalid",
    "HTTP://hub.invalid",
    "http://\uff11\uff12\uff17.0.0.1",
    "http://[::1%eth0]",
    "http://localhost,evil.invalid",
)
NEAR = (
    "http://127.0.0.1",
    "http://127.0.0.1:8080",
    "http://127.255.0.9/hub",
    "http://localhost:1",
    "http://LOCALHOST",
    "http://[::1]:9",
)
NONE = (
    "",
    "hub.invalid",
    "ftp://hub.invalid",
    "file:///etc/passwd",
    "//127.0.0.1",
    "http:/hub",
    "https://",
    "javascript:x",
    " http://x",
    "https://x\ny",
    "https://[",
    "https://[::1",
    "http://127.0.0.1:99999",
    "https://a:x",
    "https://a b",
    "https://a..b",
    f"https://{'a' * 5000}",
    "https://u:p@",
    "https://x/\x01",
)


def run(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment = {**kept, "PYTHONPATH": SCRIPTS, "HF_HOME": str(cwd / "hf"), **variables}
    return subprocess.run(
        [sys.executable, "-m", "mlx_publish", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("address", FAR)
def test_what_only_looks_like_this_machine_is_not(address: str) -> None:
    assert not has_tls(address)


@pytest.mark.parametrize("address", [*NEAR, "https://hub.invalid", "HTTPS://hub.invalid/x", "https://u:p@hub.invalid"])
def test_tls_and_this_machine_are_fine(address: str) -> None:
    assert has_tls(address)


@pytest.mark.parametrize("address", NONE)
def test_what_is_no_address_of_the_web_is_bad_input(address: str) -> None:
    with pytest.raises(BadInput, match="is not the address of a Hub"):
        has_tls(address)


@pytest.mark.parametrize(
    ("host", "near"), [("::1", True), ("[::1]", True), ("127.9.9.9", True), ("::", False), ("", False)]
)
def test_hosts(host: str, near: bool) -> None:
    assert is_loopback(host) is near


@pytest.mark.parametrize("address", ["http://hub.invalid", "http://127.0.0.1@hub.invalid", "ftp://hub.invalid"])
@pytest.mark.parametrize("variable", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_a_token_is_not_sent_without_tls(tmp_path: Path, address: str, variable: str) -> None:
    done = run("inspect", "--source", "acme/m", cwd=tmp_path, HF_ENDPOINT=address, **{variable: TOKEN})
    assert done.returncode == 2
    assert "HF_ENDPOINT" in done.stderr
    assert "https://" in done.stderr
    assert TOKEN not in done.stdout + done.stderr


def test_without_a_token_reading_is_let_through_with_a_warning(tmp_path: Path) -> None:
    done = run("inspect", "--source", "acme/m", cwd=tmp_path, HF_ENDPOINT="http://u:secret-pass@hub.invalid")
    assert done.returncode == 4
    assert done.stderr.count("warning: HF_ENDPOINT") == 1
    assert "secret-pass" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "variables", [{}, {"HF_TOKEN": TOKEN}, {"HF_OIDC_RESOURCE": "acme/m-4bit", "HF_OIDC_ID_TOKEN": "x"}]
)
def test_nothing_is_published_without_tls(tmp_path: Path, variables: dict[str, str]) -> None:
    make_model(tmp_path / "m")
    words = ("publish", "--source", "m", "--base-model", "acme/base", "--license", "mit", "--to", "acme/m-4bit")
    done = run(*words, cwd=tmp_path, HF_ENDPOINT="http://hub.invalid", **variables)
    assert done.returncode == 2
    assert "HF_ENDPOINT" in done.stderr
    assert not list((tmp_path / "work").rglob("model.safetensors"))


def test_a_folder_and_this_machine_need_no_tls(tmp_path: Path) -> None:
    make_model(tmp_path / "m")
    assert (
        run("inspect", "--source", "m", cwd=tmp_path, HF_ENDPOINT="http://hub.invalid", HF_TOKEN=TOKEN).returncode == 0
    )
    with Hub(tmp_path / "hub") as hub:
        commit = hub.put("acme/m", {path.name: path for path in (tmp_path / "m").iterdir()})
        user = User(tmp_path / "home", hub, "read")
        user.run("inspect", "--source", "acme/m", "--revision", commit)


@pytest.mark.parametrize("target", ["http://evil.invalid/x", "http://hub.invalid/x", "http://127.0.0.1.evil.invalid/"])
def test_a_redirect_to_http_never_carries_the_token(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    requests: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return (
            httpx2.Response(200) if request.url.scheme == "http" else httpx2.Response(307, headers={"Location": target})
        )

    client = guarded_client()
    monkeypatch.setattr(client, "_transport_for_url", lambda _: httpx2.MockTransport(answer))
    headers = {"authorization": f"Bearer {TOKEN}"}
    client.get("https://hub.invalid/x", headers=headers, follow_redirects=True)
    assert [("authorization" in request.headers, request.url.scheme) for request in requests] == [
        (True, "https"),
        (False, "http"),
    ]
    with pytest.raises(SurroundingsError, match="without TLS"):
        client.get(target, headers=headers)
    with pytest.raises(SurroundingsError, match="without TLS"):
        client.put("https://hub.invalid/x", content=b"weights", follow_redirects=True)
    assert [request.method for request in requests] == ["GET", "GET", "PUT"]


@pytest.mark.parametrize(
    ("method", "url", "headers", "goes"),
    [
        ("GET", "http://127.0.0.1:8/x", {"authorization": "x"}, True),
        ("PUT", "http://[::1]/x", {}, True),
        ("PUT", "https://store.invalid/x", {"authorization": "x"}, True),
        ("GET", "http://store.invalid/x", {}, True),
        ("GET", "http://store.invalid/x", {"Authorization": "x"}, False),
        ("POST", "http://store.invalid/x", {}, False),
    ],
)
def test_each_request_is_looked_at(method: str, url: str, headers: dict[str, str], goes: bool) -> None:
    request: Any = httpx2.Request(method, url, headers=headers)
    if goes:
        before_request(request)
        return
    with pytest.raises(SurroundingsError, match="HTTP without TLS"):
        before_request(request)


def test_the_relay_sends_its_token_to_no_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Answer(SimpleNamespace):
        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None: ...

    def answer(request: Any, **_: object) -> Answer:
        asked.append(request)
        return Answer()

    monkeypatch.setattr("urllib.request.urlopen", answer)
    relay.send({}, {"GITHUB_REPOSITORY": "a/b", "GITHUB_TOKEN": TOKEN})
    assert "Authorization" not in asked[0].headers
    assert asked[0].get_header("Authorization") == f"Bearer {TOKEN}"
