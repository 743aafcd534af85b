"""Models that see, from a source to a folder and to a Hub: what is published is the model, and computes what it did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from hub import Hub
from mlx_publish.children.torch import VARIABLE as REFERENCE
from mlx_publish.children.vision import VARIABLE
from pipeline import STAGES, User, checks, digests, read_json, remote_digests, write_recipe
from tensor_file import read_tensors
from vision_computing import compute
from vision_faults import made

REPO = "lab/{}-MLX-bf16"
WITHIN = 1e-3
"""Of the range of all logits."""
EVERY_RUN = "idefics3"
FAMILIES = ("smolvlm", "qwen2_5_vl", "qwen3_vl", "gemma4", "mistral3", "lfm2_vl")
LANGUAGE = ("model.text_model.", "model.language_model.", "language_model.", "lm_head.")
PROCESSOR = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")


@dataclass(frozen=True)
class Seeing:
    """Somebody with both other Pythons, a Hub and a token for it, and the tiny models."""

    user: User
    hub: Hub
    models: Path
    place: Path
    vision: Path
    torch: Path

    def source(self, family: str) -> Path:
        """Return a whole tiny model with a licence and a card."""
        folder = made(self.models, family, self.place / family)
        (folder / "LICENSE").write_text("Apache License 2.0\n", encoding="utf-8")
        (folder / "README.md").write_text(
            "---\nlicense: apache-2.0\nlanguage:\n- en\npipeline_tag: image-text-to-text\n---\n# tiny\n",
            encoding="utf-8",
        )
        return folder

    def publish(self, family: str, to: str, *variants: dict[str, Any]) -> Path:
        """Publish to a folder or a Hub with all stages; returns the work folder of the recipe."""
        self.source(family)
        keys = {"source": str(self.place / family), "base_model": f"acme/{family}", "variants": list(variants)}
        recipe = write_recipe(self.user.home / f"{family}.yaml", to=to, **keys)
        work = self.place / "work"
        self.user.run("publish", "--recipe", recipe, "--work", work)
        return work / family

    def logits(self, folder: Path, name: str, library: str = "mlx-vlm") -> Any:
        """Return what a library computes of the picture and the question."""
        python = self.torch if library == "transformers" else self.vision
        return compute(python, library, folder, self.place / f"{name}.npz", self.place / f"{name}.npy")


@pytest.fixture
def seeing(tmp_path: Path, vision_models: Path, vision_python: Path, torch_python: Path) -> Iterator[Seeing]:
    with Hub(tmp_path / "hub") as hub:
        more = {VARIABLE: str(vision_python), REFERENCE: str(torch_python)}
        user = User(tmp_path / "home", hub, "write", more)
        yield Seeing(user, hub, vision_models, tmp_path, vision_python, torch_python)


def front_matter(card: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(card.read_text(encoding="utf-8").split("---\n")[1])
    return found


def apart(one: Any, other: Any) -> float:
    """Largest difference, as a share of the range of the other."""
    assert one.shape == other.shape
    return float(np.abs(one - other).max() / np.ptp(other))


def encoders(folder: Path) -> dict[str, int]:
    """Return how many numbers each tensor has that is not the language model's, by its name."""
    named = {name: array.size for path in folder.glob("*.safetensors") for name, array in read_tensors(path).items()}
    return {name: size for name, size in named.items() if not name.startswith(LANGUAGE)}


def whole_way(seeing: Seeing, family: str) -> None:
    """Publish to a folder, compare with transformers, and publish the same to the Hub."""
    source, out = seeing.source(family), seeing.place / "out"
    work = seeing.publish(family, f"folder:{out}/{{variant}}", {"dtype": "bfloat16"}, {"bits": 8})
    for label in ("bf16", "8bit"):
        for stage in STAGES:
            found = checks(work / label, stage)
            assert "fail" not in found.values(), (label, stage, found)
        folder = out / label
        assert digests(folder) == digests(work / label / "model")
        kept, given = encoders(folder), encoders(source)
        assert sorted(kept.values()) == sorted(given.values()), "tensors of the tower are missing or more"
        config, before = read_json(folder / "config.json"), read_json(source / "config.json")
        assert config["vision_config"].items() >= before["vision_config"].items()
        assert ("quantization" in config) == (label == "8bit")
        for name in (name for name in PROCESSOR if (source / name).exists()):
            assert read_json(folder / name) == read_json(source / name)
        about = front_matter(folder / "README.md")
        assert about["pipeline_tag"] == "image-text-to-text"
        assert about["library_name"] == "mlx"
        assert about["base_model"] == f"acme/{family}"
        assert about["license"] == "apache-2.0"
    same_numbers(seeing, source, out)
    repo = REPO.format(family)
    seeing.publish(family, repo, {"dtype": "bfloat16"})
    assert remote_digests(seeing.hub, repo) == digests(work / "bf16" / "model")


def same_numbers(seeing: Seeing, source: Path, out: Path) -> None:
    """Source and result agree with transformers in float32, and 8 bits choose alike."""
    seeing.logits(source, "inputs")
    (seeing.place / "inputs.npz").rename(seeing.place / "reference.npz")
    reference = seeing.logits(source, "reference", "transformers")
    assert np.ptp(reference) > 1
    for folder, within in ((source, WITHIN), (out / "bf16", WITHIN), (out / "8bit", 0.1)):
        computed = seeing.logits(folder, "reference")
        assert apart(computed, reference) < within, folder
    assert np.mean(computed.argmax(-1) == reference.argmax(-1)) > 0.8


def test_a_model_that_sees_is_published_whole_and_computes_what_transformers_does(seeing: Seeing) -> None:
    whole_way(seeing, EVERY_RUN)


# The way of the one above; the twin and the gate look at each of these families by day.
@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("family", FAMILIES)
def test_so_is_one_of_each_family(seeing: Seeing, family: str) -> None:
    whole_way(seeing, family)


def test_the_picture_decides_what_is_computed(seeing: Seeing) -> None:
    """Or the comparison above would hold of models that ignore it."""
    source = seeing.source(EVERY_RUN)
    shown = seeing.logits(source, "shown")
    given = dict(np.load(seeing.place / "shown.npz"))
    given["pixel_values"] = given["pixel_values"][..., ::-1]
    np.savez(seeing.place / "turned.npz", **given)
    turned = seeing.logits(source, "turned")
    assert apart(turned, shown) > 10 * WITHIN
