"""Other engines within limits: what they say is cut, and what they write is bounded in all."""

from __future__ import annotations

from datetime import datetime

import pytest

from mlx_publish.chat import engines
from mlx_publish.chat.engines import ENGINES, available, render_with
from mlx_publish.chat.rendering import Rendered

NOW = datetime.fromisoformat("2026-03-01T12:00:00")
CONTEXT = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    if request.param not in available():
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


def render(engine: str, *templates: str) -> list[Rendered]:
    return render_with(engine, [(template, CONTEXT) for template in templates], NOW, 8.0)


def test_what_an_engine_says_is_cut(engine: str) -> None:
    eights = "{% set s = namespace(x='xxxxxxxx') %}{% for _ in range(12) %}{% set s.x = s.x ~ s.x %}{% endfor %}"
    refused, good = render(engine, eights + "{{ raise_exception(s.x) }}", "{{ messages[0].content }}")
    assert refused == Rendered(None, "x" * 500, "refused")
    assert good == Rendered("Hi", None, "text")


def test_what_an_engine_writes_in_all_is_bounded(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "ANSWERS_BYTES", 190)
    first, second, third, fourth = render(engine, "a" * 60, "b" * 60, "c", "d")
    assert (first, second) == (Rendered("a" * 60, None, "text"), Rendered("b" * 60, None, "text"))
    assert (third.kind, fourth.kind) == ("unsafe", "not-reached")
    assert "wrote more than 190 bytes in all" in (third.error or "")
