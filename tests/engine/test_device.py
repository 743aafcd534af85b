"""A device that computes wrong shows in a small product, and nothing is computed on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- the products are made wrong here
import pytest
from mlx import nn  # noqa: TID251

from mlx_publish.engine import __main__ as inside
from mlx_publish.engine import device, fidelity, loading
from mlx_publish.errors import SurroundingsError
from mlx_publish.evidence.records import from_json, to_json
from mlx_publish.evidence.speed import Device
from mlx_publish.machine.packages import MOST_DEVIATION

OTHER = object()


class Part:
    """Stands for `mx.metal` or `mx.cuda`."""

    def __init__(self, *, available: bool) -> None:
        self._available = available

    def is_available(self) -> bool:
        return self._available


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let MLX name a GPU as its device, and some backends as available."""

    def pretend(*available: str, default: str = "gpu") -> None:
        for name in ("metal", "cuda"):
            monkeypatch.setattr(mx, name, Part(available=name in available), raising=False)
        monkeypatch.setattr(mx, "default_device", lambda: mx.Device(getattr(mx, default)))

    return pretend


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
    answer = inside._answer({"op": "answers", "arguments": {}}, lambda _: None)
    assert (answer["ok"], answer["kind"]) == (False, "SurroundingsError")


def test_a_cpu_is_compared_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "on_gpu", lambda: False)
    monkeypatch.setattr(device, "deviation", lambda _: pytest.fail("compared"))
    device.trusted()
    assert device.device(lambda _: None).deviation == 0.0


def test_whatever_begins_on_a_gpu_is_done_on_a_trusted_device() -> None:
    on_any = {"answers", "reference", "compare", "curve", "sensitivity", "benchmark", "perceived", "pixels"}
    assert set(inside.OPERATIONS) - inside._ON_THE_CPU == on_any
    assert Path(device.__file__).name == "device.py"


@pytest.mark.parametrize("op", ["convert", "logits", "twin", "chat"])
def test_what_computes_on_the_cpu_does_not_wait_for_the_gpu(monkeypatch: pytest.MonkeyPatch, op: str) -> None:
    monkeypatch.setattr(device, "trusted", lambda *_: pytest.fail("the GPU was checked"))
    answer = inside._answer({"op": op, "arguments": {}}, lambda _: None)
    assert "missing" in answer["message"]  # its own arguments


def test_a_conversion_checks_the_gpu_before_it_asks_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []

    def refuse(tell: Callable[[object], None]) -> None:
        tell("checking the GPU")
        raise SurroundingsError("the GPU gives wrong results")

    monkeypatch.setattr(fidelity, "trusted", refuse)
    with pytest.raises(SurroundingsError, match="wrong results"):
        fidelity.ask_source(None, "source", "tokenizer", None, [], told.append)
    assert told == ["checking the GPU"]


BACKENDS = [
    ("gpu", {"metal"}, "metal"),
    ("gpu", {"cuda"}, "cuda"),
    ("gpu", set(), "cpu"),
    ("cpu", {"metal"}, "cpu"),
    ("cpu", {"cuda"}, "cpu"),
]


@pytest.mark.parametrize(("default", "available", "expected"), BACKENDS)
def test_a_gpu_is_whatever_gpu_mlx_computes_on(
    gpu: Callable[..., None], default: str, available: set[str], expected: str
) -> None:
    gpu(*available, default=default)
    assert loading.computing_by() == expected
    assert loading.on_gpu() == (expected != "cpu")


def test_an_mlx_without_cuda_computes_by_metal_or_on_the_cpu(
    gpu: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu("metal")
    monkeypatch.delattr(mx, "cuda")
    assert loading.computing_by() == "metal"
    gpu()
    assert loading.computing_by() == "cpu"


@pytest.mark.parametrize(("backend", "stays"), [("metal", True), ("cuda", True), (None, False)])
def test_weights_are_cast_to_float32_on_the_cpu_alone(
    gpu: Callable[..., None], backend: str | None, stays: bool
) -> None:
    gpu(*filter(None, [backend]), default="gpu" if backend else "cpu")
    layer = nn.Linear(4, 4)
    layer.set_dtype(mx.bfloat16)
    assert loading.fit(layer) == ("as stored" if stays else "float32")
    assert layer.weight.dtype == (mx.bfloat16 if stays else mx.float32)


@pytest.mark.parametrize(("backend", "told"), [("metal", []), ("cuda", [device.COMPILING])])
def test_only_cuda_says_that_it_compiles(
    gpu: Callable[..., None], monkeypatch: pytest.MonkeyPatch, backend: str, told: list[str]
) -> None:
    gpu(backend)
    monkeypatch.setattr(device, "deviation", lambda _: 1e-4)
    heard: list[object] = []
    device.trusted(heard.append)
    assert heard == told


@pytest.mark.parametrize(
    ("backend", "info", "name", "memory"),
    [
        ("metal", {"device_name": "Apple M4", "memory_size": 16 << 30}, "Apple M4", 16 << 30),
        ("cuda", {"device_name": "NVIDIA H100 80GB HBM3", "total_memory": 85520809984}, "NVIDIA H100 80GB HBM3", 85520809984),
        ("cuda", {}, "", None),
        ("cpu", {"device_name": "AMD EPYC"}, "", None),
    ],
)  # fmt: skip
def test_the_device_has_the_name_and_the_memory_that_mlx_is_told(
    gpu: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    info: dict[str, object],
    name: str,
    memory: int | None,
) -> None:
    gpu(backend, default="cpu" if backend == "cpu" else "gpu")
    monkeypatch.setattr(mx, "device_info", lambda: info)
    monkeypatch.setattr(device, "deviation", lambda _: 1e-4)
    found = device.device(lambda _: None)
    assert (found.device, found.backend) == ("cpu" if backend == "cpu" else "gpu", backend)
    assert (found.name, found.memory_bytes, found.metal) == (name, memory, backend == "metal")
    assert from_json(Device, to_json(found)) == found


def test_a_device_as_earlier_versions_report_it_is_read() -> None:
    earlier = {"device": "gpu", "name": "Apple M4", "metal": True, "deviation": 1e-4}
    assert from_json(Device, earlier).backend is None
    assert to_json(from_json(Device, earlier)) == earlier
