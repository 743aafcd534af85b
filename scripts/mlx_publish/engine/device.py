"""Check that the device that MLX computes on computes right: a small product beside the CPU's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx

from mlx_publish.engine.loading import computing_by, on_gpu
from mlx_publish.errors import SurroundingsError
from mlx_publish.evidence.speed import Device
from mlx_publish.machine.packages import MOST_DEVIATION
from mlx_publish.text.progress import Tell

SIDE = 256


COMPILING = "checking the GPU: CUDA compiles its first kernels, which takes 10 to 20 s"


def device(progress: Tell) -> Device:
    """Return the device, and how far its products are from the CPU's."""
    progress("a small product on both devices")
    by = computing_by()
    gpu = by != "cpu"
    return Device(
        device="gpu" if gpu else "cpu",
        name=gpu_name() or "",
        metal=by == "metal",
        deviation=deviation(mx.gpu) if gpu else 0.0,
        backend=by,
        memory_bytes=_gpu_memory() if gpu else None,
    )


def trusted(progress: Tell = lambda _: None) -> None:
    """Raise `SurroundingsError` if the GPU computes wrong; on the CPU there is nothing to compare with.

    Call it right before a GPU is used: what computes on the CPU alone need not wait for CUDA's compiler.
    """
    if not on_gpu():
        return
    if computing_by() == "cuda":
        progress(COMPILING)
    if not (share := deviation(mx.gpu)) <= MOST_DEVIATION:
        raise SurroundingsError(
            f"the GPU gives wrong results: a small product is off by {share:.1e} of its size",
            remedy="Restart the machine; if that does not help, update its system and driver, or try another mlx.",
        )


def gpu_name() -> str | None:
    """Return the name of the GPU that MLX computes on; None on a CPU, or where it has none."""
    return (str(_info().get("device_name") or "") or None) if on_gpu() else None


def _gpu_memory() -> int | None:
    """Return the memory of the GPU in bytes: Metal and CUDA call it differently."""
    info = _info()
    size = info.get("total_memory") or info.get("memory_size")
    return size if isinstance(size, int) else None


def _info() -> Mapping[str, Any]:
    """Return what MLX knows of the device; `mx.metal` knew it before `mx` did."""
    known = getattr(mx, "device_info", None) or getattr(mx.metal, "device_info", None)
    return known() if known else {}


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
