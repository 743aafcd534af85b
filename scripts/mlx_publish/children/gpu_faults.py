"""What MLX says where a GPU, its memory or its driver failed, and the remedy: none of it is the model's fault."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlx_publish.errors import SurroundingsError
from mlx_publish.text import kit

CUDA_DRIVERS = {"13": 580, "12": 550}
"""The oldest driver, by CUDA's major version: that of CUDA 13.0, and what MLX asks for with CUDA 12."""
_AGAIN = "run the same command again."
# MLX names the call of CUDA and its libraries, as `cudaMallocManaged(&data, size) failed: out of memory`.
_CUDA = re.compile(
    r"\b(?:cuda|cublas|cudnn|cufft|cusolver|nccl|nvrtc|cu)[A-Z]\w*(?:\(.*\))? failed\b"
    r"|CUDA error|undefined symbol: cu[A-Z]",
    re.DOTALL,
)


@dataclass(frozen=True)
class _Fault:
    """Words of MLX or CUDA, what is wrong, and what to do, with {cpu} for the command that installs MLX for the CPU."""

    words: tuple[str, ...]
    message: str
    remedy: str


_FAULTS = (
    _Fault(
        ("libcuda.so",),
        "MLX is installed for CUDA, and this machine has no NVIDIA driver",
        f"Install the NVIDIA driver {CUDA_DRIVERS['13']} or newer; in a container, pass the GPU through (docker run "
        "--gpus all). Without a GPU: pip uninstall mlx-cuda-13, then {cpu}",
    ),
    _Fault(
        (
            "undefined symbol: cu",
            "driver version is insufficient",
            "unsupported toolchain",
            "system has unsupported display driver",
        ),
        "the NVIDIA driver is too old for this MLX",
        f"Update the driver: CUDA 13 needs {CUDA_DRIVERS['13']} or newer. For driver {CUDA_DRIVERS['12']} to "
        f"{CUDA_DRIVERS['13'] - 1}: pip uninstall mlx-cuda-13, then pip install 'mlx[cuda12]' in the same version.",
    ),
    _Fault(
        ("no CUDA-capable device", "invalid device ordinal"),
        "MLX is installed for CUDA, and no NVIDIA GPU is visible",
        "Check nvidia-smi and CUDA_VISIBLE_DEVICES; in a container, pass the GPU through (docker run --gpus all). "
        "Without a GPU: pip uninstall mlx-cuda-13, then {cpu}",
    ),
    _Fault(
        ("no kernel image is available",),
        "this GPU is too old for MLX's CUDA build",
        "CUDA 13 needs a GPU of 2018 or newer (Turing). For the CPU: pip uninstall mlx-cuda-13, then {cpu}",
    ),
    _Fault(
        ("locations of CUDA headers",),
        "MLX does not find the headers that CUDA compiles its kernels with",
        "Reinstall: pip install --force-reinstall 'mlx[cuda13]' in the same version; or set CUDA_HOME.",
    ),
    _Fault(
        ("CUDA-capable device(s) is/are busy",),
        "another process has the GPU to itself",
        f"End it (nvidia-smi lists it), then {_AGAIN}",
    ),
)
_OF_CUDA_ALONE = ("libcuda.so", "locations of CUDA headers")
_OUT_OF_MEMORY = _Fault(
    ("out of memory",),
    "the GPU is out of memory",
    f"End other programs on the GPU (nvidia-smi lists them), or take a GPU with more memory; then {_AGAIN}",
)


def of_the_gpu(text: str) -> SurroundingsError | None:
    """Return what to tell of an error of Metal or CUDA, by its text; None for any other."""
    if "[METAL]" in text and "Insufficient Memory" in text:
        return SurroundingsError("out of memory", remedy="Close other programs, then run again.")
    if "[METAL]" in text:
        return SurroundingsError(text, remedy="Run the same command again.")
    if not _CUDA.search(text) and not any(words in text for words in _OF_CUDA_ALONE):
        return None
    for fault in (*_FAULTS, _OUT_OF_MEMORY):
        if any(words in text for words in fault.words):
            return SurroundingsError(fault.message, remedy=fault.remedy.replace("{cpu}", kit.install("mlx")))
    return SurroundingsError(
        f"CUDA failed: {text}",
        remedy=f"{_AGAIN[:1].upper()}{_AGAIN[1:]} If it fails again, restart the machine and check nvidia-smi.",
    )
