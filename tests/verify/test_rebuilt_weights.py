"""`verify --rebuild` where weights differ: whether it is rounding of another device, and what to do then."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import other_device
from conftest import once
from hub import Hub
from mlx_publish.evidence.digests import FileDigest, folder_digest, sha256_of
from mlx_publish.evidence.evidence import Evidence
from models import answer_table, make_scripted
from other_device import Tensors, half_away
from pipeline import QUICK, User

WEIGHTS, EVIDENCE, REPO = "model.safetensors", "mlx-publish.json", "lab/Own-MLX"
Change = Callable[[Tensors], Tensors]


def publish(root: Path) -> None:
    source = make_scripted(root / "Own", answer_table())
    recipe = {"source": str(source), "base_model": "acme/base", "to": f"folder:{root / 'out'}", **QUICK}
    (root / "home").mkdir()
    (root / "home/r.json").write_text(json.dumps(recipe))
    User(root / "home").run("publish", "--recipe", "r.json", "--work", root / "work")


@dataclass(frozen=True)
class Published:
    """A copy of what was published, and its source."""

    folder: Path
    source: Path
    user: User

    @property
    def evidence(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((self.folder / EVIDENCE).read_text())
        return data

    def put_evidence(self, data: dict[str, Any]) -> None:
        (self.folder / EVIDENCE).write_text(json.dumps(data, indent=2))

    def change(self, change: Change, *, made_on: dict[str, str] | None = None, **options: Any) -> None:
        """Change the weights and the digests of the evidence; it names `made_on`, or as in older versions nothing."""
        path = self.folder / WEIGHTS
        other_device.write(path, change(other_device.read(path)), **options)
        data = self.evidence
        for file in data["model"]["files"]:
            if file["path"] == WEIGHTS:
                file.update(sha256=sha256_of(path), size=path.stat().st_size)
        data["model"]["model"] = folder_digest(FileDigest(**file) for file in data["model"]["files"])
        data["model"].pop("made_on")
        if made_on:
            data["model"]["made_on"] = made_on
        self.put_evidence(data)

    def rebuild(self, place: object = None, code: int = 1) -> dict[str, Any]:
        """Convert again; return the finding about it."""
        words = ("verify", place or self.folder, "--rebuild", "--source", self.source, "--json")
        checks = json.loads(self.user.run(*words, code=code).out)["checks"]
        found: dict[str, Any] = next(check for check in checks if check["id"] == "made-again")
        return found


@pytest.fixture
def published(shared: Path, tmp_path: Path) -> Published:
    kept = once(shared / "rebuilt", publish)
    return Published(shutil.copytree(kept / "out", tmp_path / "out"), kept / "Own", User(tmp_path / "home"))


def gpu(published: Published) -> Change:
    """The weights as another device rounds them."""
    weights = other_device.weights_of(published.source / WEIGHTS)
    block = json.loads((published.folder / "config.json").read_text())["quantization"]
    return lambda tensors: other_device.elsewhere(tensors, weights, block, half_away)


def one_norm(tensors: Tensors) -> Tensors:
    dtype, shape, data = tensors["model.norm.weight"]
    bits = np.frombuffer(data, np.uint16).copy()
    bits[0] += np.uint16(9)
    return {**tensors, "model.norm.weight": (dtype, shape, bits.tobytes())}


def test_evidence_and_report_name_what_computed_the_bytes(published: Published) -> None:
    made_on = published.evidence["model"]["made_on"]
    assert (made_on["device"], made_on["backend"]) == ("cpu", "cpu")
    assert made_on["mlx"] == published.evidence["tools"]["mlx"]
    assert {"architecture", "system"} < {*made_on}
    evidence = Evidence.of(published.evidence)
    assert evidence.model.made_on is not None
    assert evidence.model.made_on.system == made_on["system"]
    assert "gives the same bytes on x86-64 and arm64" in (published.folder / "README.md").read_text()


def test_rounding_of_another_device_is_told_from_other_weights_and_is_still_refused(published: Published) -> None:
    published.change(gpu(published))
    found = published.rebuild()
    assert found["status"] == "fail"
    assert "1 of 8 files differ: model.safetensors; rounding of another device: " in found["message"]
    assert "convert it again with mlx-publish" in found["remedy"]
    assert "anyone can make such changes on purpose" in found["remedy"]
    weights = found["details"]["weights"]
    assert weights["kind"] == "rounding"
    assert all(tensor["far"] == tensor["unlikely"] == 0 for tensor in weights["changed"])
    assert len(weights["changed"]) > 5
    text = published.user.run("verify", published.folder, "--rebuild", "--source", published.source, code=1).text
    assert "NOT verified" in text
    assert "tensor type values differ share largest mean" in text
    assert text.count("comparing weights") == 1


def test_rounding_of_evidence_that_names_the_cpu_is_other_weights(published: Published) -> None:
    published.change(gpu(published), made_on=published.evidence["model"]["made_on"])
    found = published.rebuild()
    assert found["details"]["weights"]["kind"] == "other"
    assert "the evidence names MLX's CPU backend" in found["message"]


def test_other_weights_are_named_with_the_most_different_tensor(published: Published) -> None:
    published.change(one_norm)
    found = published.rebuild()
    assert "other weights: model.norm.weight: " in found["message"]
    assert "differ, by up to 9 ulps" in found["message"]
    assert found["remedy"].startswith("Do not use it")


def test_the_same_tensors_in_another_layout_are_told(published: Published) -> None:
    published.change(lambda tensors: dict(reversed(tensors.items())), metadata={"format": "mlx", "by": "hand"})
    found = published.rebuild()
    assert "; the same tensors in another layout: all " in found["message"]
    assert found["details"]["weights"]["changed"] == []


def test_a_header_that_is_none_is_other_weights(published: Published) -> None:
    published.change(lambda tensors: tensors)
    data = bytearray((published.folder / WEIGHTS).read_bytes())
    data[8] = 0
    (published.folder / WEIGHTS).write_bytes(data)
    words = ("verify", published.folder, "--rebuild", "--source", published.source)
    assert "is not safetensors" in published.user.run(*words, code=1).text


def test_with_another_file_beside_the_weights_nothing_is_excused(published: Published) -> None:
    published.change(gpu(published))
    with (published.folder / "config.json").open("a") as file:
        file.write("\n")
    found = published.rebuild()
    assert found["details"]["other"] == ["config.json", WEIGHTS]
    assert found["remedy"].startswith("Do not use it")


def test_of_a_repo_only_the_files_that_differ_are_downloaded(published: Published, tmp_path: Path) -> None:
    published.change(gpu(published))
    with Hub(tmp_path / "hub") as hub:
        hub.put(REPO, {path.name: path for path in sorted(published.folder.iterdir())})
        hub.log.clear()
        found = Published(published.folder, published.source, User(tmp_path / "home2", hub)).rebuild(REPO)
        digest = hub.tree(REPO)[WEIGHTS].digest
        whole = [r for r in hub.log if r.method == "GET" and r.path.endswith((WEIGHTS, digest)) and r.status == 200]
    assert found["details"]["weights"]["kind"] == "rounding"
    assert len(whole) == 1
