"""A commit that the Hub puts off is made when the Hub said, by a clock that only tells what it was asked to wait."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub.errors import HfHubHTTPError

from mlx_publish.errors import SurroundingsError
from mlx_publish.hub import commit as module
from mlx_publish.hub.commit import Change, again, commit
from mlx_publish.hub.watch import Watch

HEAD = "a" * 40


def refusal(status: int, **headers: str) -> HfHubHTTPError:
    response = SimpleNamespace(status_code=status, reason_phrase="later", headers=headers, request=None)
    error = HfHubHTTPError.__new__(HfHubHTTPError)
    Exception.__init__(error, "later")
    error.response = response  # type: ignore[assignment]
    error.server_message = None
    return error


class Desk:
    """A Hub that answers with `answers`, exceptions raised, and the seconds that were waited."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: list[Any]) -> None:
        self.answers, self.waited = answers, list[float]()
        monkeypatch.setattr(module, "hub_api", lambda: self)
        monkeypatch.setattr(time, "sleep", self.waited.append)

    def preupload_lfs_files(self, *_: object, **__: object) -> None:
        """There are none."""

    def create_commit(self, *_: object, **__: object) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def model_info(self, _repo: str) -> Any:
        return SimpleNamespace(sha=HEAD)


CHANGE = Change("lab/m", (), (), (), "title", {}, HEAD)
DONE = SimpleNamespace(oid="b" * 40, pr_url=None)


@pytest.mark.parametrize(
    ("refusals", "waited"),
    [
        ([refusal(429, **{"Retry-After": "3"})], [3.0]),
        ([refusal(503, **{"Retry-After": "5"}), refusal(429, **{"Retry-After": "1"})], [5.0, 2]),
        ([refusal(429)], [1]),
        ([refusal(500), refusal(500)], [1, 2]),
    ],
)
def test_a_commit_waits_as_long_as_the_hub_asks(
    monkeypatch: pytest.MonkeyPatch, refusals: list[Any], waited: list[float]
) -> None:
    desk = Desk(monkeypatch, [*refusals, DONE])
    assert commit(CHANGE, Watch(lambda _: None, 60)).oid == DONE.oid
    assert desk.waited == waited


def test_so_does_what_may_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, [refusal(429, **{"Retry-After": "3"}), DONE])
    assert again("lab/m", desk.create_commit) is DONE
    assert desk.waited == [3.0]


def test_after_the_last_attempt_the_error_says_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, [refusal(429, **{"Retry-After": "9"}) for _ in range(4)])
    with pytest.raises(SurroundingsError) as caught:
        commit(CHANGE, Watch(lambda _: None, 60))
    assert (caught.value.retry_after, desk.waited) == (9.0, [9.0, 9.0, 9.0])
