"""Source and result read the same texts behind the same pictures: tiny models of several families, and faults in them.

The engine's own children do it, in the Python with mlx-vlm.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.fidelity import FIDELITY, FidelityFacts
from mlx_publish.checks.pictured import PICTURED, PicturedFacts
from mlx_publish.children.engine import Children
from mlx_publish.children.jobs import Job, run_job
from mlx_publish.children.vision import VARIABLE, find_vision
from mlx_publish.evidence.measured import Against, Divergence, SourceRead
from mlx_publish.evidence.records import from_json
from mlx_publish.evidence.speed import Speed
from mlx_publish.recipes.recipe import FidelityTest, Variant
from mlx_publish.source.bounds import rounded
from mlx_publish.source.logits import texts
from tensor_file import bfloat16, float32, read_tensors, write_tensors

Numbers = NDArray[np.float32]
EVERY_RUN = "idefics3"
FAMILIES = ("smolvlm", "qwen2_5_vl", "qwen3_vl", "gemma4", "mistral3", "lfm2_vl")
TOWER = ("vision", "visual")
PROJECTOR = ("connector", "projector", "merger", "embed_vision")


@dataclass(frozen=True)
class Measuring:
    """The children of a run with mlx-vlm, the tiny models, and a place for copies."""

    children: Children
    models: Path
    place: Path

    def run(self, op: str, **arguments: object) -> object:
        job = Job(op, arguments, self.place / f"{op}.log", children=self.children)
        return run_job(job, lambda _: None)

    def read(self, family: str, processor: Path | None = None) -> SourceRead:
        """Let a source read the texts and the pictures."""
        source = self.models / family
        read = self.run(
            "reference",
            source=str(source),
            texts=texts(),
            tokens=64,
            store=str(self.place / "store"),
            processor=str(processor or source),
        )
        return from_json(SourceRead, read)

    def changed(self, family: str, names: Sequence[str], change: Callable[[Numbers], Numbers]) -> Path:
        """Return a copy of a model with other numbers in the tensors of some names."""
        folder = self.place / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.models / family, folder)
        tensors = read_tensors(folder / "model.safetensors")
        for name in [name for name in tensors if any(part in name for part in names)]:
            tensors[name] = bfloat16(change(float32(tensors[name])))
        write_tensors(folder / "model.safetensors", tensors)
        return folder

    def compare(self, folder: Path) -> Divergence:
        compared = self.run("compare", folder=str(folder), label="it", store=str(self.place / "store"))
        return from_json(Divergence, rounded(compared))


@pytest.fixture
def measuring(
    tmp_path: Path, vision_models: Path, vision_python: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Measuring]:
    monkeypatch.setenv(VARIABLE, str(vision_python))
    with Children() as children:
        children.use("mlx_vlm", find_vision())
        yield Measuring(children, vision_models, tmp_path)


def judge(divergence: Divergence, read: SourceRead | None = None) -> dict[str, str]:
    """Return the status of each check of a variant that is not quantized."""
    limits, variant = FidelityTest.model_validate({}), Variant.model_validate({"dtype": "bfloat16"})
    text = run_checks(FIDELITY, FidelityFacts(divergence, Against("source"), limits, variant))
    behind = run_checks(PICTURED, PicturedFacts(divergence, read, limits, variant))
    return {finding.id: finding.status for finding in (*text, *behind)}


def test_a_result_with_the_sources_own_weights_is_the_same_behind_pictures(measuring: Measuring) -> None:
    read = measuring.read(EVERY_RUN)
    assert read.pictures is not None
    assert (read.pictures.passages, read.pictures.reason) == (7, "")
    divergence = measuring.compare(measuring.models / EVERY_RUN)
    assert set(judge(divergence).values()) == {"pass"}
    pictures = divergence.pictures
    assert pictures is not None
    assert (pictures.mean_kld, pictures.max_kld, pictures.same_first_choice) == (0, 0, 1)
    assert pictures.effect is not None
    assert pictures.effect.source is not None
    assert pictures.effect.source > 0.001, "the toy looks at its pictures"
    assert pictures.effect.source == pictures.effect.model


FAULT = "patches in another order"
FAULTS: dict[str, tuple[Sequence[str], Callable[[Numbers], Numbers]]] = {
    "projector of zeros": (PROJECTOR, lambda values: values * 0),
    "tower of zeros": (TOWER, lambda values: values * 0),
    "tower in another order": (TOWER, lambda values: values.reshape(-1)[::-1].reshape(values.shape)),
    "patches in another order": (("patch_embed",), lambda values: values.reshape(-1)[::-1].reshape(values.shape)),
    "tower a tenth smaller": (TOWER, lambda values: values * np.float32(0.9)),
}


@pytest.mark.parametrize(
    "fault", [FAULT, *(pytest.param(name, marks=pytest.mark.slow) for name in FAULTS if name != FAULT)]
)
def test_a_fault_in_what_sees_is_found_behind_pictures_and_nowhere_else(measuring: Measuring, fault: str) -> None:
    read = measuring.read(EVERY_RUN)
    judged = judge(measuring.compare(measuring.changed(EVERY_RUN, *FAULTS[fault])), read)
    behind = {name for name, status in judged.items() if status == "fail"}
    assert "pictures-effect" in behind
    assert all(name.startswith("pictures-") for name in behind), "the text is the source's"


def test_a_number_of_the_tower_that_is_none_is_refused(measuring: Measuring) -> None:
    measuring.read(EVERY_RUN)
    judged = judge(
        measuring.compare(measuring.changed(EVERY_RUN, PROJECTOR, lambda values: values * np.float32("nan")))
    )
    assert judged["pictures-finite"] == "fail"
    assert judged["finite"] == "pass"


def test_a_processor_that_cannot_be_loaded_is_told_of_the_source(measuring: Measuring) -> None:
    processor = measuring.place / "processor"
    shutil.copytree(measuring.models / EVERY_RUN, processor)
    for name in ("preprocessor_config.json", "processor_config.json"):
        (processor / name).unlink(missing_ok=True)
    read = measuring.read(EVERY_RUN, processor)
    assert read.pictures is not None
    assert read.pictures.passages == 0
    assert read.pictures.reason
    divergence = measuring.compare(measuring.models / EVERY_RUN)
    assert divergence.pictures is None
    assert judge(divergence, read)["pictures-compared"] == "warn"


def test_text_after_pictures_is_read_as_before_them(measuring: Measuring) -> None:
    """Families keep positions of their last prompt, which may have been one with a picture."""
    measuring.read("qwen3_vl")
    first = measuring.compare(measuring.models / "qwen3_vl")
    again = measuring.compare(measuring.models / "qwen3_vl")
    assert (first.mean_kld, again.mean_kld) == (0, 0)
    assert first.pictures == again.pictures


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_is_compared_behind_pictures(measuring: Measuring, family: str) -> None:
    read = measuring.read(family)
    same = measuring.compare(measuring.models / family)
    assert set(judge(same, read).values()) == {"pass"}
    assert same.pictures is not None
    assert same.pictures.image_tokens > 0
    blind = measuring.compare(measuring.changed(family, PROJECTOR, lambda values: values * 0))
    assert judge(blind, read)["pictures-effect"] == "fail"


def test_a_prompt_with_a_picture_is_timed_beside_text_of_its_length(measuring: Measuring) -> None:
    folder = str(measuring.models / EVERY_RUN)
    order = {
        "text": "A text to repeat. " * 20,
        "prompt_tokens": [16],
        "generation_tokens": 4,
        "trials": 3,
        "seconds": 10,
    }
    speed = from_json(Speed, measuring.run("benchmark", folder=folder, picture=True, **order))
    assert speed.picture_not_measured is None
    picture = speed.picture
    assert picture is not None
    assert (picture.width, picture.height) == (448, 448)
    assert 0 < picture.image_tokens < picture.with_picture.prompt_tokens
    assert picture.with_picture.prompt_tokens == picture.text_alone.prompt_tokens
    assert picture.encode_s is not None
    assert picture.encode_s.lowest > 0
    assert picture.with_picture.peak_memory_bytes > 0
    assert from_json(Speed, measuring.run("benchmark", folder=folder, **order)).picture is None
