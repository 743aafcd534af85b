"""The machine that numbers were measured on. Needs no MLX."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from mlx_publish.engine.child import memory_bytes
from mlx_publish.engine.process import fast_blas
from mlx_publish.engine.support import versions


def machine() -> dict[str, Any]:
    """Chip, cores, memory in bytes, system and versions; nothing that names a person or a host."""
    mac = platform.system() == "Darwin"
    return {
        "system": f"macOS {platform.mac_ver()[0]}" if mac else f"{platform.system()} {platform.release()}",
        "arch": platform.machine(),
        "chip": _sysctl("machdep.cpu.brand_string") if mac else _linux_chip(),
        "cores": os.cpu_count() or 1,
        "memory_bytes": memory_bytes(),
        "python": platform.python_version(),
        "blas": None if mac else _blas(),
        "versions": versions(),
    }


def _linux_chip(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.machine()


def _sysctl(key: str) -> str:
    found = subprocess.run(["/usr/sbin/sysctl", "-n", key], capture_output=True, text=True, check=False)
    return found.stdout.strip() or platform.machine()


def _blas() -> str:
    library = fast_blas()
    return library.resolve().name if library else "reference BLAS of the mlx wheel"
