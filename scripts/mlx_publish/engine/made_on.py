"""What computes in this process."""

from __future__ import annotations

import platform

import mlx.core as mx

from mlx_publish.evidence.conversion import MadeOn
from mlx_publish.machine.packages import versions


def made_on() -> MadeOn:
    """Return MLX's default device and backend, its version, the processor and the system."""
    if mx.default_device() == mx.cpu:
        device = backend = "cpu"
    else:
        device, backend = "gpu", "metal" if mx.metal.is_available() else "cuda"
    return MadeOn(device, backend, platform.machine(), platform.system(), versions("mlx")["mlx"])
