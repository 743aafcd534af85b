"""Pictures shown by mlx-vlm to tiny models that see, and to ones that lost their eyes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.seen import SEEN, SeenFacts
from mlx_publish.children.engine import Children
from mlx_publish.children.jobs import Job, run_job
from mlx_publish.children.vision import VARIABLE, find_vision
from mlx_publish.evidence.records import from_json, to_json
from mlx_publish.evidence.report import Finding
from mlx_publish.evidence.seen import Perceived, SlotsRendered
from tensor_file import bfloat16, float32, read_tensors, write_tensors

HERE = Path(__file__).parents[1]
FAMILIES = ("qwen3_vl", "gemma3", "smolvlm")
Change = Callable[[Path], None]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models(torch_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources of several families, as transformers makes them."""
    out = tmp_path_factory.mktemp("seeing")
    words = [str(torch_python), str(HERE / "vision_making.py"), str(out), *FAMILIES]
    subprocess.run(words, check=True, env={**os.environ, "PYTHONPATH": str(HERE)}, timeout=300)
    return out


@pytest.fixture(scope="module")
def children(vision_python: Path) -> Iterator[Children]:
    """Children in the Python that has mlx-vlm."""
    with pytest.MonkeyPatch.context() as patch, Children() as own:
        patch.setenv(VARIABLE, str(vision_python))
        own.use("mlx_vlm", find_vision())
        yield own


class Eyes:
    """Asks models about pictures, in children of one Python."""

    def __init__(self, children: Children, logs: Path) -> None:
        self._children, self._logs = children, logs
        self._sources: dict[Path, Perceived] = {}

    def _run(self, op: str, **arguments: object) -> dict[str, Any]:
        return run_job(Job(op, arguments, self._logs / f"{op}.log", children=self._children), lambda _: None)

    def see(self, folder: Path, source: Perceived | None = None) -> Perceived:
        """Return what a model makes of pictures."""
        along = to_json(source.apart) if source else {}
        asked = {"folder": str(folder), "processor": str(folder), "kinds": ["picture"], "options": {}}
        return from_json(Perceived, self._run("perceived", **asked, along=along))

    def judge(self, source: Path, made: Path, *, quantized: bool = False) -> dict[str, Finding]:
        """Return what the checks say of a folder that was made of a source."""
        if source not in self._sources:
            self._sources[source] = self.see(source)
        theirs = self._sources[source]
        kinds = {"source": str(source), "templates": {}, "kinds": ["picture"]}
        slots = from_json(SlotsRendered, self._run("slots", folder=str(made), **kinds))
        facts = SeenFacts(("picture",), self.see(made, theirs), theirs, slots, quantized)
        return {finding.id: finding for finding in run_checks(SEEN, facts)}


@pytest.fixture(scope="module")
def eyes(children: Children, tmp_path_factory: pytest.TempPathFactory) -> Eyes:
    return Eyes(children, tmp_path_factory.mktemp("logs"))


def changed(source: Path, to: Path, change: Change) -> Path:
    """Return a copy with a fault."""
    shutil.copytree(source, to)
    change(to)
    return to


def config(name: str, **keys: object) -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))

    return change


def weights(part: str, new: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Return what changes the tensors whose name has a part."""

    def change(folder: Path) -> None:
        path = folder / "model.safetensors"
        tensors = {
            name: bfloat16(new(float32(values))) if part in name else values
            for name, values in read_tensors(path).items()
        }
        assert any(part in name for name in tensors)
        write_tensors(path, tensors)

    return change


def template(old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        path = folder / "chat_template.jinja"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_sees_what_its_source_sees(eyes: Eyes, models: Path, tmp_path: Path, family: str) -> None:
    source = models / family
    found = eyes.judge(source, changed(source, tmp_path / "made", lambda _: None))
    assert found["picture-slots"].status == "pass", found["picture-slots"].message
    assert found["picture-seen"].status == "pass", found["picture-seen"].message
    assert "likeness 1.00" in found["picture-seen"].message
    assert found["picture-answers"].status in ("pass", "warn"), found["picture-answers"].message


def test_code_of_a_model_does_not_run(eyes: Eyes, models: Path, tmp_path: Path) -> None:
    """AutoProcessor, AutoTokenizer and AutoImageProcessor would import a module beside the files where they are told to."""
    ran = tmp_path / "ran"
    made = changed(models / "qwen3_vl", tmp_path / "made", lambda _: None)
    (made / "own.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Own: pass\n")
    named = dict.fromkeys(("AutoProcessor", "AutoImageProcessor", "AutoTokenizer", "AutoConfig"), "own.Own")
    for name in ("tokenizer_config.json", "preprocessor_config.json", "config.json"):
        config(name, auto_map={**named, "AutoTokenizer": ["own.Own", None]})(made)
    seen = eyes.see(made)
    assert not ran.exists()
    assert seen.shown


def zeros(values: np.ndarray) -> np.ndarray:
    return np.zeros_like(values)


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (weights("visual.merger.", zeros), "picture-seen"),
        (weights("visual.patch_embed.", zeros), "picture-seen"),
        (weights("visual.patch_embed.proj.weight", lambda values: -values), "picture-seen"),
        (config("config.json", image_token_id=7), "picture-answers"),
        (template("<|image_pad|>", ""), "picture-slots"),
        (template("<|image_pad|>", "<|video_pad|>"), "picture-slots"),
        (config("preprocessor_config.json", image_mean=[-0.5] * 3), "picture-seen"),
        (config("preprocessor_config.json", size={"shortest_edge": 3136, "longest_edge": 3136}), "picture-slots"),
    ],
    ids=["projector", "patches", "upside down", "image token", "no slot", "wrong slot", "mean", "size"],
)
def test_what_lost_its_eyes_is_refused(eyes: Eyes, models: Path, tmp_path: Path, change: Change, check: str) -> None:
    source = models / "qwen3_vl"
    found = eyes.judge(source, changed(source, tmp_path / "made", change))
    assert found[check].status == "fail", {name: (one.status, one.message) for name, one in found.items()}
