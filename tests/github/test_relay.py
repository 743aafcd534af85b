"""A webhook of the Hub becomes a dispatch, or nothing, and never for a stranger."""

from __future__ import annotations

import copy
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from mlx_publish.errors import BadInput, Refused
from mlx_publish.github.relay import LARGEST, app, event_of

COMMIT = "0123456789abcdef" * 2 + "01234567"
SECRET = "of the webhook"
# By the documentation of webhooks, version 3.
PUSHED: dict[str, Any] = {
    "event": {"action": "update", "scope": "repo.content"},
    "repo": {
        "type": "model",
        "name": "acme/Tiny",
        "id": "621ffdc036468d709f17434d",
        "private": False,
        "url": {"web": "https://huggingface.co/acme/Tiny", "api": "https://huggingface.co/api/models/acme/Tiny"},
        "headSha": COMMIT,
        "owner": {"id": "628b753283ef59b5be89e937"},
    },
    "updatedRefs": [{"ref": "refs/heads/main", "oldSha": "0" * 40, "newSha": COMMIT}],
    "webhook": {"id": "6390e855e30d9209411de93b", "version": 3},
}


def changed(**changes: Any) -> bytes:
    """The payload with other values, by paths as repo__name."""
    data = copy.deepcopy(PUSHED)
    for path, value in changes.items():
        *room, last = path.split("__")
        inner = data
        for key in room:
            inner = inner[key]
        inner[last] = value
    return json.dumps(data).encode()


def test_a_new_commit_on_main_asks_for_its_source() -> None:
    assert event_of(changed(), SECRET, SECRET) == {
        "event_type": "mlx-publish",
        "client_payload": {
            "source": "acme/Tiny",
            "revision": COMMIT,
            "callback": "webhook 6390e855e30d9209411de93b",
        },
    }


@pytest.mark.parametrize(
    "body",
    [
        changed(event={"action": "update", "scope": "repo.config"}),
        changed(event={"action": "create", "scope": "discussion"}),
        changed(event={"action": "delete", "scope": "repo"}),
        changed(repo__type="dataset"),
        changed(updatedRefs=None),
        changed(updatedRefs=[]),
        changed(updatedRefs=[{"ref": "refs/pr/1", "newSha": COMMIT}]),
        changed(updatedRefs=[{"ref": "refs/heads/main", "oldSha": COMMIT, "newSha": None}]),
        changed(updatedRefs=[{"ref": "refs/heads/main", "newSha": "; id"}]),
    ],
)
def test_everything_else_asks_for_nothing(body: bytes) -> None:
    assert event_of(body, SECRET, SECRET) is None


@pytest.mark.parametrize(
    ("given", "secret"), [("", SECRET), ("other", SECRET), (SECRET + "x", SECRET), ("", ""), ("ä", SECRET)]
)
def test_another_secret_is_refused_before_anything_is_read(given: str, secret: str) -> None:
    with pytest.raises(Refused, match="secret is wrong"):
        event_of(b"\xff not even JSON", given, secret)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"x" * (LARGEST + 1),
        changed(repo=None),
        changed(repo__name="a b; id"),
        changed(repo__name="../../x"),
        changed(repo__name="x" * 500),
    ],
)
def test_what_is_no_payload_is_bad_input(body: bytes) -> None:
    with pytest.raises(BadInput):
        event_of(body, SECRET, SECRET)


class GitHub(BaseHTTPRequestHandler):
    """Keeps dispatches; answers with what the test says."""

    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.got.append((self.path, self.headers["Authorization"], json.loads(body)))
        self.send_response(server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), GitHub)
    server.got, server.status = [], 204
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    for name, value in {
        "GITHUB_API_URL": f"http://127.0.0.1:{server.server_port}",
        "GITHUB_TOKEN": "ghs_x",
        "GITHUB_REPOSITORY": "lab/models",
        "MLX_PUBLISH_WEBHOOK_SECRET": SECRET,
    }.items():
        monkeypatch.setenv(name, value)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def post(body: bytes, secret: str = SECRET, **more: object) -> tuple[str, str]:
    """Call the application as a server does; returns status and body."""
    statuses: list[str] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "HTTP_X_WEBHOOK_SECRET": secret,
        **more,
    }
    answer = app(environ, lambda status, _: statuses.append(status))
    return statuses[0], b"".join(answer).decode()


def test_the_application_sends_the_dispatch(github: Any) -> None:
    assert post(changed()) == ("202 Accepted", "requested acme/Tiny\n")
    [(path, authorization, event)] = github.got
    assert (path, authorization) == ("/repos/lab/models/dispatches", "Bearer ghs_x")
    assert event == event_of(changed(), SECRET, SECRET)


def test_the_application_refuses_and_says_why(github: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert post(changed(), "guessed")[0].startswith("401 ")
    assert post(b"{")[0].startswith("400 ")
    assert post(changed(), REQUEST_METHOD="GET")[0].startswith("405 ")
    assert post(changed(), CONTENT_LENGTH="9" * 12)[0].startswith("413 ")
    assert post(changed(updatedRefs=[])) == ("204 No Content", "")
    assert github.got == []
    github.status = 403
    assert post(changed()) == ("502 Bad Gateway", "GitHub answered 403 to the dispatch\n")
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:9")
    assert post(changed())[0].startswith("502 ")
    monkeypatch.delenv("GITHUB_TOKEN")
    assert post(changed()) == ("500 Internal Server Error", "not set: GITHUB_TOKEN\n")
