"""On a machine with a GPU, by Metal or CUDA: published bytes are the CPU's, and what is measured is measured on the GPU.

It prints what it saw: `pytest tests/test_on_gpu.py`. Elsewhere it is skipped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- the bytes are made again here
import pytest

from mlx_publish.engine import device as engine
from mlx_publish.engine.answering import answers
from mlx_publish.engine.loading import computing_by, load_model, on_gpu
from mlx_publish.evidence.measured import Question
from mlx_publish.evidence.records import to_json
from mlx_publish.machine import describe, nvidia
from mlx_publish.machine.packages import MOST_DEVIATION, computes_by
from mlx_publish.machine.programs import run_program
from mlx_publish.machine.state import state
from models import ANSWER, answer_table, make_model, make_scripted
from pipeline import User, read_json, write_recipe

MODES = ("2bit", "3bit", "4bit", "5bit", "6bit", "8bit", "mxfp4", "nvfp4", "mxfp8")
"""Affine of each width, and those with small floats."""
MEASURED = "4bit"
"""To compile takes CUDA 10 to 20 s a process, so one variant has to do."""
ON_GPU = on_gpu()
pytestmark = pytest.mark.skipif(not ON_GPU, reason="MLX has no GPU here: the backend is the CPU's")
Show = Callable[..., None]


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    """Print past pytest, for whoever runs this on a machine that is at hand for an hour."""

    def printing(*words: object) -> None:
        with capsys.disabled():
            print("\n ", *words)

    return printing


@dataclass(frozen=True)
class Published:
    """The source and the work folder of a recipe with all modes."""

    source: Path
    work: Path

    def result(self, stage: str) -> dict[str, Any]:
        """Return what a stage found of the variant that is measured."""
        found: dict[str, Any] = read_json(self.work / MEASURED / f"{stage}.json")["result"]
        return found


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    root = tmp_path_factory.mktemp("on-gpu")
    source = make_model(root / "m", hidden=256)
    lenient: dict[str, Any] = {
        "smoke": {"max_tokens": 4},
        "fidelity": {"tokens": 64, "max_mean_kld": 1e6, "min_same_first_choice": 0.0, "max_perplexity_ratio": 1e9},
        "benchmark": {"prompt_tokens": 64, "generation_tokens": 32, "trials": 3, "seconds": 30},
    }
    recipe = write_recipe(
        root / "m.yaml", source=str(source), variants=list(MODES), to="folder:out/{variant}", **lenient
    )
    words = ("--recipe", recipe, "--work", root / "work")
    User(root / "home").run("convert", *words)
    User(root / "home").run("run", "--until", "benchmark", "--variant", MEASURED, *words)
    return Published(source, root / "work" / recipe.stem)


def test_the_gpu_computes_what_the_cpu_does(show: Show) -> None:
    found = engine.device(lambda _: None)
    show(f"{found.name or 'GPU'} by {found.backend}, {(found.memory_bytes or 0) / 2**30:.1f} GiB")
    show(f"largest deviation of a product: {found.deviation:.1e} (at most {MOST_DEVIATION:.0e})")
    assert found.deviation <= MOST_DEVIATION
    assert found.device == "gpu"
    assert found.backend == computing_by() == computes_by()


def test_the_machine_is_described_with_its_gpu(show: Show) -> None:
    found, now = to_json(describe()), to_json(state())
    show(json.dumps(found), "\n ", json.dumps(now))
    if computing_by() == "cuda":
        assert found["gpu"] == engine.gpu_name()
        for command in (nvidia.GPUS, nvidia.LIST, nvidia.EVENTS, nvidia.THROTTLING, nvidia.PROGRAMS):
            said = re.sub(r"\b(GPU|MIG)-[0-9a-f-]{20,}", r"\1-(hidden)", run_program(command))
            show("$", *command, "\n" + said)


def test_a_model_computes_in_its_own_type(tmp_path: Path) -> None:
    model, _, computed_in = load_model(str(make_model(tmp_path / "m")))
    assert computed_in == "as stored"
    assert model.model.norm.weight.dtype == mx.bfloat16


def test_a_model_answers_on_the_gpu_what_it_was_made_to(tmp_path: Path) -> None:
    folder = make_scripted(tmp_path / "m", answer_table())
    asked = Question("q", ({"role": "user", "content": "Hi"},), 24)
    said = answers(str(folder), str(folder), [to_json(asked)], lambda _: None)
    assert (said.answers["q"].answer, said.computed_in) == (ANSWER, "as stored")


@pytest.mark.parametrize("label", MODES)
def test_converted_bytes_are_those_of_the_cpu(published: Published, label: str, show: Show) -> None:
    folder = published.work / label / "model"
    config = read_json(folder / "config.json")["quantization"]
    made, source = (_tensors(where) for where in (folder, published.source))
    compared = differing = 0
    for name in (name.removesuffix(".scales") for name in made if name.endswith(".scales")):
        kind = {key: config[key] for key in ("group_size", "bits", "mode") if key in config}
        with mx.stream(mx.cpu):
            expected = mx.quantize(source[f"{name}.weight"], **kind)
            mx.eval(*expected)
        # Compared on the CPU as well, bit by bit.
        for part, array in zip(("weight", "scales", "biases"), expected, strict=False):
            compared += array.size
            differing += _different(made[f"{name}.{part}"], array)
    show(f"{label}: {differing} of {compared:,} numbers differ from the CPU's")
    assert compared > 10_000
    assert differing == 0


def test_what_is_measured_is_measured_on_the_gpu(published: Published, show: Show) -> None:
    for stage in ("smoke", "fidelity"):
        assert published.result(stage)["computed_in"] == "as stored", stage
    speed = published.result("benchmark")
    show(f"{speed['lengths'][0]['generation_tps']['median']:.0f} tokens/s; {speed['not_measured'] or 'steady'}")
    show(json.dumps(speed["state"]))
    assert (speed["device"], speed["backend"], speed["computed_in"]) == ("gpu", computing_by(), "as stored")
    assert speed["gpu"] == engine.gpu_name()


def _tensors(folder: Path) -> dict[str, mx.array]:
    found: dict[str, mx.array] = {}
    with mx.stream(mx.cpu):
        for path in folder.glob("*.safetensors"):
            read: Any = mx.load(str(path))
            found |= read
    return found


def _different(one: mx.array, other: mx.array) -> int:
    """Return how many numbers of two arrays have other bits."""
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    bits = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32}[one.dtype.size]
    with mx.stream(mx.cpu):
        differing: Any = mx.sum(one.view(bits) != other.view(bits)).item()
        return int(differing)
