"""What a speed was measured on, in words: an NVIDIA GPU's number is neither a Mac's nor a CPU's, and says so."""

from __future__ import annotations

from typing import Literal

DeviceKind = Literal["GPU", "CPU", "CUDA"]
"""A mark beside a number: the GPU of a Mac, a CPU, an NVIDIA GPU."""


def kind_of(device: str, backend: str | None) -> DeviceKind:
    """Return the mark of what MLX computed on; `backend` is missing in reports of versions before 0.3."""
    if device == "cpu":
        return "CPU"
    return "CUDA" if backend == "cuda" else "GPU"


def named(device: str, backend: str | None, gpu: str | None) -> str:
    """Return the mark, or the name of an NVIDIA GPU with it, as `NVIDIA H100 80GB HBM3, CUDA`."""
    kind = kind_of(device, backend)
    return f"{gpu or 'NVIDIA GPU'}, {kind}" if kind == "CUDA" else kind
