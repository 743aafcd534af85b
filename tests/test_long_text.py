"""How long the long question is: beyond a window where that is possible, and never for hours."""

from __future__ import annotations

import platform
from typing import Any

import pytest

from mlx_publish.source import long_text as module
from mlx_publish.source.long_text import BEYOND, LONG, long_text

BILLION, GIGABYTE = 10**9, 2**30
TINY: dict[str, Any] = {"num_hidden_layers": 4, "num_attention_heads": 4, "hidden_size": 64}
SEVEN: dict[str, Any] = {
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
}


@pytest.fixture(params=["Darwin", "Linux"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(platform, "system", lambda: request.param)
    monkeypatch.setattr(module, "memory_bytes", lambda: 32 * GIGABYTE)
    return str(request.param)


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize(("window", "context", "tokens"), [(None, 8192, LONG), (128, 8192, 128 + BEYOND)])
def test_a_small_window_is_passed(window: int | None, context: int, tokens: int) -> None:
    found = long_text(500_000, window, context, TINY)
    assert (found.tokens, found.reason) == (tokens, "")


def test_a_window_of_a_large_model_is_passed_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(module, "memory_bytes", lambda: 16 * GIGABYTE)
    assert long_text(7 * BILLION, 4096, 32768, SEVEN).tokens == 4096 + BEYOND


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize(
    ("context", "reason"),
    [
        (131_072, "the model's context has 131,072 positions"),
        (262_144, "the model's context has 262,144 positions"),
        (1_000_000, "that takes minutes here"),
        (None, "that takes minutes here"),
    ],
)
def test_a_window_as_long_as_the_context_is_not_read(context: int | None, reason: str) -> None:
    found = long_text(500_000, 262_144, context, TINY)
    assert (found.tokens, found.reason) == (LONG, reason)


def test_little_memory_makes_it_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(module, "memory_bytes", lambda: GIGABYTE)
    found = long_text(BILLION, 4096, 32768, SEVEN)
    assert found.tokens <= LONG
    assert found.reason == "that takes too much memory here"


@pytest.mark.usefixtures("system")
def test_it_stays_within_a_short_context() -> None:
    assert long_text(500_000, None, 96, TINY).tokens == 48
    assert long_text(500_000, 64, 256, TINY).tokens == 128


@pytest.mark.usefixtures("system")
def test_a_config_without_sizes_will_do() -> None:
    assert long_text(500_000, None, None, {"num_hidden_layers": None, "hidden_size": "many"}).tokens == LONG
