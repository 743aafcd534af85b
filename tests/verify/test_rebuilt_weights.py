"""`verify --rebuild` where weights differ: whether it is rounding of another device, and what to do then."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from conftest import once
from hub import Hub
from mlx_publish.evidence.evidence import Evidence
from other_device import Tensors
from pipeline import User
from rebuilding import WEIGHTS, Published, gpu, publish

REPO = "lab/Own-MLX"


@pytest.fixture
def published(shared: Path, tmp_path: Path) -> Published:
    kept = once(shared / "rebuilt", publish)
    return Published(shutil.copytree(kept / "out", tmp_path / "out"), kept / "Own", User(tmp_path / "home"))


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
