"""Check that the device that MLX computes on computes right: a small product beside the CPU's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from mlx_publish.engine.loading import on_gpu
from mlx_publish.errors import SurroundingsError
from mlx_publish.evidence.speed import Device
from mlx_publish.machine.packages import MOST_DEVIATION
from mlx_publish.text.progress import Tell

SIDE = 256


def device(progress: Tell) -> Device:
    """Return the device, and how far its products are from the CPU's."""
    progress("a small product on both devices")
    gpu = on_gpu()
    return Device(
        device="gpu" if gpu else "cpu",
        name=str(mx.device_info().get("device_name", "")) if gpu else "",
        metal=bool(mx.metal.is_available()),
        deviation=deviation(mx.gpu) if gpu else 0.0,
    )


def trusted() -> None:
    """Raise `SurroundingsError` where the GPU computes wrong; on the CPU there is nothing to compare with."""
    if on_gpu() and not (share := deviation(mx.gpu)) <= MOST_DEVIATION:
        raise SurroundingsError(
            f"the GPU computes wrong: a small product is off by {share:.1e} of its size",
            remedy="Restart the machine; if that does not help, update its system and driver, or try another mlx.",
        )


def deviation(other: Any) -> float:
    """Return the largest difference of plain and quantized products on two devices, as a share.

    NaN where one is no number.
    """
    left, right = _numbers(1), _numbers(2)
    packed = mx.quantize(right, group_size=64, bits=4)
    largest = 0.0
    for product in (lambda: left @ right.T, lambda: mx.quantized_matmul(left, *packed, group_size=64, bits=4)):
        there, here = (_on(where, product) for where in (other, mx.cpu))
        share: Any = (mx.max(mx.abs(there - here)) / mx.max(mx.abs(here))).item()
        if not math.isfinite(share):
            return math.nan
        largest = max(largest, float(share))
    return largest


def _numbers(seed: int) -> mx.array:
    """Return the same numbers on any device."""
    return _on(mx.cpu, lambda: mx.random.normal((SIDE, SIDE), key=mx.random.key(seed)))


def _on(where: Any, product: Callable[[], mx.array]) -> mx.array:
    with mx.stream(where):
        made = product()
        mx.eval(made)
    return made
