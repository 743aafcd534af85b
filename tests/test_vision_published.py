"""A model that sees, after its conversion: stages without a network, a Hub, verification, review, hooks, drift."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import once
from hub import Hub
from mlx_publish.children.vision import VARIABLE
from mlx_publish.model.senses import is_language
from pipeline import QUICK, STAGES, User, digests, reports
from vision_faults import made

SOURCE, REPO, FAMILY, VARIANT = "acme/Seer", "lab/Seer-MLX-8bit", "idefics3", "8bit"
PROCESSOR = {"preprocessor_config.json", "processor_config.json"}


class Seen:
    """What was published once for all tests: the Hub's disk, the work folder, the recipe, a copy of each of one's own."""

    def __init__(self, kept: Path, own: Path, vision_python: Path) -> None:
        shutil.copytree(kept, own)
        self.root, self.hub = own, Hub(own / "hub")
        self.user = User(own / "home", self.hub, more={VARIABLE: str(vision_python)})
        self.flags = ["--recipe", own / "recipes/Seer.yaml", "--work", own / "work"]
        self.variant = own / "work/Seer" / VARIANT

    def verify(self, *words: object, code: int = 0) -> dict[str, dict[str, Any]]:
        found = json.loads(self.user.run("verify", REPO, "--json", *words, code=code).out)["checks"]
        return {check["id"]: check for check in found}


@pytest.fixture(scope="session")
def kept(shared: Path, vision_models: Path, vision_python: Path) -> Path:
    def publish(root: Path) -> None:
        source = made(vision_models, FAMILY, root / "source")
        with Hub(root / "hub") as hub:
            commit = hub.put(SOURCE, {path.name: path for path in sorted(source.iterdir())})
            recipe = {"source": SOURCE, "revision": commit, "license": "apache-2.0", "to": "lab/{source}-MLX-{variant}"}
            (root / "recipes").mkdir()
            (root / "recipes/Seer.yaml").write_text(json.dumps(recipe | QUICK | {"variants": [VARIANT]}))
            user = User(root / "home", hub, "write", more={VARIABLE: str(vision_python)})
            flags = ["--recipe", root / "recipes/Seer.yaml", "--work", root / "work"]
            user.run("run", *flags, "--into", root / "cards")
            user.run("upload", *flags)

    return once(shared / "seer", publish)


@pytest.fixture
def seen(kept: Path, tmp_path: Path, vision_python: Path) -> Iterator[Seen]:
    seen = Seen(kept, tmp_path / "seen", vision_python)
    with seen.hub:
        yield seen


def test_every_stage_passes_and_the_processors_files_are_published(seen: Seen) -> None:
    assert [stage for stage, report in reports(seen.variant) if report["verdict"] == "pass"] == list(STAGES)
    tree = seen.hub.tree(REPO)
    assert set(tree) >= PROCESSOR
    source = seen.hub.tree(SOURCE)
    assert {tree[path].digest for path in PROCESSOR} == {source[path].digest for path in PROCESSOR}
    evidence = json.loads(seen.hub.read(REPO, "main", "mlx-publish.json"))
    assert set(evidence["tools"]) == {"mlx", "mlx-vlm", "transformers"}
    assert {file["path"] for file in evidence["model"]["files"]} >= PROCESSOR
    assert evidence["source"].get("modality") is None


def test_anybody_verifies_it_without_mlx_vlm(seen: Seen) -> None:
    del seen.user.more[VARIABLE]
    assert {check["status"] for check in seen.verify().values()} == {"pass", "skip"}


def test_converted_again_it_is_the_same_byte_for_byte(seen: Seen) -> None:
    found = seen.verify("--rebuild")
    assert "byte for byte" in found["made-again"]["message"]
    assert found["facts-of-source"]["status"] == "pass"


def test_without_mlx_vlm_it_cannot_be_converted_again_and_that_is_said(seen: Seen) -> None:
    del seen.user.more[VARIABLE]
    said = seen.user.run("verify", REPO, "--rebuild", code=1).text
    assert "mlx-vlm is not installed here" in said


@pytest.mark.parametrize("path", sorted(PROCESSOR))
def test_another_processor_is_found(seen: Seen, path: str) -> None:
    changed = seen.hub.read(REPO, "main", path).replace(b"0.5", b"0.6") + b"\n"
    seen.hub.put(REPO, {path: changed})
    found = seen.verify(code=1)["files-as-told"]
    assert found["status"] == "fail"
    assert path in found["message"]


def test_later_stages_ask_the_hub_for_no_file_of_the_source(seen: Seen) -> None:
    seen.user.token, before = "write", len(seen.hub.log)
    for stage in ("smoke", "fidelity", "benchmark", "card", "upload"):
        seen.user.run(stage, *seen.flags, "--force")
    asked = {one.path.partition("/tree/")[0] for one in seen.hub.log[before:] if SOURCE in one.path}
    assert asked == {f"/api/models/{SOURCE}"}, "more than the list of its files, as for text"


def test_the_card_needs_no_network_after_convert(seen: Seen) -> None:
    shutil.rmtree(seen.root / "home/huggingface")
    seen.user.hub = None  # nobody answers at its address
    seen.user.run("card", *seen.flags, "--force")
    assert [report["verdict"] for _, report in reports(seen.variant)] == ["pass"] * len(STAGES)


def test_a_part_that_the_evidence_counts_otherwise_is_found(seen: Seen) -> None:
    evidence = json.loads(seen.hub.read(REPO, "main", "mlx-publish.json"))
    evidence["model"]["towers"][0]["tensors"] -= 1
    seen.hub.put(REPO, {"mlx-publish.json": json.dumps(evidence, indent=2).encode()})
    found = seen.verify(code=1)["weights-as-told"]
    assert found["status"] == "fail"
    assert evidence["model"]["towers"][0]["name"] in found["message"]


def test_what_is_reviewed_is_published_after_its_weights_went(seen: Seen) -> None:
    out = seen.root / "cards" / REPO
    reviewed = digests(out)
    shutil.rmtree(seen.variant / "model")
    seen.user.token = "write"
    seen.hub.put(REPO, {"README.md": b"other words"})
    seen.user.run("upload", *seen.flags, "--cards", seen.root / "cards")
    assert seen.hub.read(REPO, "main", "README.md") == (out / "README.md").read_bytes()
    assert seen.hub.read(REPO, "main", "mlx-publish.json") == (out / "evidence.json").read_bytes()
    assert digests(out) == reviewed
    assert {check["status"] for check in seen.verify().values()} == {"pass", "skip"}


def test_status_and_compare_know_it(seen: Seen) -> None:
    assert REPO in seen.user.run("status", "--recipes", seen.root / "recipes", "--work", seen.root / "work").text
    assert VARIANT in seen.user.run("compare", seen.variant, seen.variant).text


def look(seen: Seen, name: str, code: int = 0) -> str:
    """Let a hook look at the published folder and at its reviewed card, in a work tree of their own."""
    tree = seen.root / "tree"
    if not tree.exists():
        shutil.copytree(seen.variant / "model", tree / "model")
        shutil.copytree(seen.root / "cards", tree / "cards")
        shutil.copytree(seen.root / "recipes", tree / "recipes")
    wanted = f"cards/{REPO}/*" if name == "mlx-card" else "model/*.j*"
    files = sorted(path.relative_to(tree) for path in tree.glob(wanted))
    assert files
    home, seen.user.home = seen.user.home, tree
    try:
        return seen.user.run("hook", name, *files, code=code).text
    finally:
        seen.user.home = home


def test_a_hook_finds_that_its_eyes_were_lost(seen: Seen) -> None:
    look(seen, "mlx-model-config")
    index = seen.root / "tree/model/model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"] = {name: file for name, file in content["weight_map"].items() if is_language(name)}
    index.write_text(json.dumps(content))
    assert "vision_config" in look(seen, "mlx-model-config", code=1)


@pytest.mark.parametrize("name", ["mlx-model-config", "mlx-chat-template", "mlx-card"])
def test_no_hook_refuses_what_was_published(seen: Seen, name: str) -> None:
    look(seen, name)
