"""A device that computes wrong shows in a small product, and nothing is computed on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- the products are made wrong here
import pytest

from mlx_publish.engine import __main__ as inside
from mlx_publish.engine import device
from mlx_publish.errors import SurroundingsError
from mlx_publish.machine.packages import MOST_DEVIATION

OTHER = object()


def pretend(monkeypatch: pytest.MonkeyPatch, harm: Callable[[mx.array], mx.array]) -> None:
    """Let the CPU stand for another device, which does `harm` to every product."""
    real = device._on

    def on(where: Any, product: Callable[[], mx.array]) -> mx.array:
        return harm(real(mx.cpu, product)) if where is OTHER else real(where, product)

    monkeypatch.setattr(device, "_on", on)


def one_wrong(product: mx.array) -> mx.array:
    product[3, 5] = 1000.0
    return product


@pytest.mark.parametrize(
    ("harm", "wrong"),
    [
        (lambda product: product, False),
        (lambda product: product.astype(mx.float16).astype(mx.float32), False),
        (lambda product: product * 1.05, True),
        (mx.zeros_like, True),
        (one_wrong, True),
        (lambda product: product.T, True),
        (lambda product: product * math.nan, True),
        (lambda product: product * math.inf, True),
    ],
)
def test_rounding_passes_and_wrong_numbers_do_not(
    monkeypatch: pytest.MonkeyPatch, harm: Callable[[mx.array], mx.array], wrong: bool
) -> None:
    pretend(monkeypatch, harm)
    assert (not device.deviation(OTHER) <= MOST_DEVIATION) == wrong


@pytest.mark.parametrize("share", [0.5, math.nan])
def test_no_job_is_done_on_a_device_that_computes_wrong(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    monkeypatch.setattr(device, "on_gpu", lambda: True)
    monkeypatch.setattr(device, "deviation", lambda _: share)
    with pytest.raises(SurroundingsError, match="the GPU gives wrong results"):
        device.trusted()
    answer = inside._answer({"op": "convert", "arguments": {}}, lambda _: None)
    assert (answer["ok"], answer["kind"]) == (False, "SurroundingsError")


def test_a_cpu_is_compared_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "on_gpu", lambda: False)
    monkeypatch.setattr(device, "deviation", lambda _: pytest.fail("compared"))
    device.trusted()
    assert device.device(lambda _: None).deviation == 0.0


def test_whatever_computes_is_done_on_a_trusted_device() -> None:
    assert set(inside.OPERATIONS) - inside._COMPUTING == {"tokenizer", "device", "twin"}  # a twin always by the CPU
    assert Path(device.__file__).name == "device.py"
