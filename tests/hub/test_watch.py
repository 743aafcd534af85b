"""How long failing is borne."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mlx_publish.errors import BadInput, SurroundingsError
from mlx_publish.hub.watch import PATIENCE, Watch, patience, retry_after


def answer(status: int, *, method: str = "GET", size: int = 0, wait: str = "") -> Any:
    url = SimpleNamespace(host="hub")
    request = SimpleNamespace(method=method, url=url, headers={"Content-Length": str(size)})
    return SimpleNamespace(status_code=status, headers={"Retry-After": wait}, request=request)


class Desk:
    """A watch with a clock of its own, and what it said."""

    def __init__(self, total: int = 0) -> None:
        self.now = 0.0
        self.messages: list[str] = []
        self.watch = Watch(self.messages.append, 60, total, clock=lambda: self.now)


def test_time_counts_from_the_first_failure_and_a_good_answer_ends_it() -> None:
    desk = Desk()
    desk.now = 1000
    desk.watch.after(answer(503))
    desk.now = 1050
    assert desk.watch.left == 10
    desk.watch.after(answer(200))
    desk.now = 5000
    assert desk.watch.left == 60
    desk.watch.before(answer(0).request)


def test_after_too_long_nothing_is_asked_any_more() -> None:
    desk = Desk()
    desk.watch.after(answer(500))
    desk.now = 61
    with pytest.raises(SurroundingsError, match="failed for 60 s") as caught:
        desk.watch.before(answer(0).request)
    assert "not sent again" in caught.value.remedy


def test_a_wait_that_is_too_long_ends_at_once_and_a_short_one_is_told() -> None:
    desk = Desk()
    desk.watch.after(answer(429, wait="7"))
    assert desk.messages == ["the Hub answered 429; trying again in 7 s"]
    with pytest.raises(SurroundingsError, match="asks for a wait of 3600 s"):
        desk.watch.after(answer(429, wait="3600"))


def test_what_is_refused_is_no_failure_of_the_hub() -> None:
    desk = Desk()
    desk.watch.after(answer(403))
    desk.now = 100
    assert (desk.watch.left, desk.messages) == (60, [])


def test_progress_is_told_every_ten_seconds() -> None:
    desk = Desk(total=40_000_000)
    for seconds in (0, 4, 11):
        desk.now = seconds
        desk.watch.after(answer(200, method="PUT", size=10_000_000))
    assert desk.messages == ["10 of 40 MB arrived", "30 of 40 MB arrived"]


@pytest.mark.parametrize(("text", "seconds"), [("7", 7.0), ("", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)])
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": text}) == seconds


def test_the_environment_may_say_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert patience() == 900
    monkeypatch.setenv(PATIENCE, "5")
    assert patience() == 5
    for wrong in ("soon", "0", "-1", "nan", "1e9"):
        monkeypatch.setenv(PATIENCE, wrong)
        with pytest.raises(BadInput, match="not a number of seconds"):
            patience()
