"""What a GPU, its driver or its memory does wrong is the surroundings' fault, and has a remedy of its own."""

from __future__ import annotations

import pytest

from mlx_publish.children.gpu_faults import of_the_gpu

# As mlx-cuda-13 0.32.4 says them here: without a driver, with one of CUDA 12.2, with one that lacks a
# function, and with one that finds no GPU.
SEEN = [
    (
        "libcuda.so.1: cannot open shared object file: No such file or directory",
        "has no NVIDIA driver",
        "docker run --gpus all",
    ),
    (
        "cudaMallocManaged(&data, size) failed: CUDA driver version is insufficient for CUDA runtime version",
        "the NVIDIA driver is too old for this MLX",
        "CUDA 13 needs 580 or newer",
    ),
    (
        "/env/lib/python3.11/site-packages/mlx/lib/libmlx.so: undefined symbol: cuGetErrorString",
        "the NVIDIA driver is too old for this MLX",
        "CUDA 13 needs 580 or newer",
    ),
    (
        "cudaMallocManaged(&data, size) failed: no CUDA-capable device is detected",
        "no NVIDIA GPU is visible",
        "CUDA_VISIBLE_DEVICES",
    ),
]
# In the words of CUDA's documentation, in the form of MLX's own messages.
DOCUMENTED = [
    ("cudaMallocAsync(&data, size, stream) failed: out of memory", "the GPU is out of memory", "nvidia-smi"),
    ("CUDA error: out of memory", "the GPU is out of memory", "nvidia-smi"),
    (
        "cudaGraphLaunch(graph_exec, stream_) failed: no kernel image is available for execution on the device",
        "this GPU is too old",
        "Turing",
    ),
    (
        "Can not find locations of CUDA headers, please set environment variable CUDA_HOME or CUDA_PATH.",
        "headers",
        "CUDA_HOME",
    ),
    (
        "cudaSetDevice(device_) failed: CUDA-capable device(s) is/are busy or unavailable",
        "another process has the GPU",
        "nvidia-smi lists it",
    ),
    (
        "cudaGraphLaunch(graph_exec, stream_) failed: an illegal memory access was encountered",
        "CUDA failed: cudaGraphLaunch",
        "Run the same command again. If it fails again, restart the machine",
    ),
    ("[METAL] Command buffer execution failed: Insufficient Memory", "out of memory", "Close other programs"),
    ("[METAL] Command buffer failed: Timeout", "[METAL] Command buffer failed: Timeout", "Run the same command again."),
]


@pytest.mark.parametrize(("text", "message", "remedy"), SEEN + DOCUMENTED)
def test_each_fault_of_a_gpu_has_a_remedy(text: str, message: str, remedy: str) -> None:
    fault = of_the_gpu(text)
    assert fault is not None
    assert message in fault.message
    assert remedy in fault.remedy
    assert "{" not in fault.remedy


@pytest.mark.parametrize("text", [SEEN[0][0], SEEN[3][0]])
def test_without_a_gpu_the_way_back_to_the_cpu_is_named(text: str) -> None:
    fault = of_the_gpu(text)
    assert fault is not None
    assert "pip uninstall mlx-cuda-13, then pip install '" in fault.remedy


@pytest.mark.parametrize(
    "text",
    [
        "[metal_kernel] No Metal back-end.",
        "[malloc] Unable to allocate 123 bytes.",
        "shapes differ: out of memory is no word of CUDA here",
        "the template failed: cute error",
    ],
)
def test_what_is_no_fault_of_a_gpu_is_left_to_others(text: str) -> None:
    assert of_the_gpu(text) is None
