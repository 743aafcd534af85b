"""What a speed was measured on, wherever evidence of any version is read: a GPU of a Mac, a CPU, an NVIDIA GPU."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from mlx_publish.evidence.devices import kind_of, named
from mlx_publish.evidence.evidence import Evidence, NotEvidence
from mlx_publish.evidence.figures import Figures
from mlx_publish.evidence.measurements import SpeedSpec
from mlx_publish.reviewed.assembling import measured_of
from samples import make_evidence

H100 = "NVIDIA H100 80GB HBM3"
DEVICES = [
    ({"device": "gpu"}, "GPU", "GPU"),  # of versions that knew no backend
    ({"device": "gpu", "backend": "metal", "gpu": "Apple M4"}, "GPU", "GPU"),
    ({"device": "cpu"}, "CPU", "CPU"),
    ({"device": "cpu", "backend": "cpu"}, "CPU", "CPU"),
    ({"device": "gpu", "backend": "cuda", "gpu": H100}, "CUDA", f"{H100}, CUDA"),
    ({"device": "gpu", "backend": "cuda"}, "CUDA", "NVIDIA GPU, CUDA"),
]


def evidence(by: dict[str, Any]) -> dict[str, Any]:
    found = copy.deepcopy(make_evidence())
    found["benchmark"] |= by
    return found


@pytest.mark.parametrize(("by", "kind", "name"), DEVICES)
def test_each_device_has_one_name_everywhere(by: dict[str, Any], kind: str, name: str) -> None:
    assert kind_of(by["device"], by.get("backend")) == kind
    assert named(by["device"], by.get("backend"), by.get("gpu")) == name
    speed = Evidence.of(evidence(by)).benchmark
    assert speed is not None
    assert (speed.kind, speed.named) == (kind, name)
    assert Figures.of_evidence(evidence(by)).device == name


@pytest.mark.parametrize(("by", "kind", "name"), DEVICES)
def test_the_table_of_variants_names_the_chip_that_computed(by: dict[str, Any], kind: str, name: str) -> None:
    whole = Evidence.of(evidence(by))
    rung = measured_of(whole.model, whole.fidelity, whole.benchmark, None, None)
    chip = name.removesuffix(", CUDA") if kind == "CUDA" else "Apple M4"
    assert (rung["chip"], rung["backend"]) == (chip, "cuda" if kind == "CUDA" else None)


def test_a_variant_that_was_not_timed_has_no_device() -> None:
    whole = Evidence.of(make_evidence())
    rung = measured_of(whole.model, whole.fidelity, None, None, None)
    assert (rung["device"], rung["chip"], rung["backend"]) == (None, None, None)
    assert Figures.of_evidence(make_evidence(benchmark=None)).device == ""


@pytest.mark.parametrize("backend", ["rocm", "", 1])
def test_a_backend_that_there_is_not_is_no_evidence(backend: object) -> None:
    with pytest.raises(NotEvidence, match=r"benchmark\.backend"):
        Evidence.of(evidence({"backend": backend}))


def test_a_speed_without_a_backend_is_read_as_before() -> None:
    plain = make_evidence()["benchmark"]
    spec = SpeedSpec.model_validate(plain)
    assert (spec.backend, spec.gpu, spec.chip) == (None, None, "Apple M4")
    assert spec.plain == plain
