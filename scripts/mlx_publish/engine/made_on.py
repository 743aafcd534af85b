"""What computes in this process."""

from __future__ import annotations

import platform

from mlx_publish.engine.loading import computing_by
from mlx_publish.evidence.conversion import MadeOn
from mlx_publish.machine.packages import versions


def made_on() -> MadeOn:
    """Return MLX's default device and backend, its version, the processor and the system."""
    backend = computing_by()
    return MadeOn(
        "cpu" if backend == "cpu" else "gpu", backend, platform.machine(), platform.system(), versions("mlx")["mlx"]
    )
