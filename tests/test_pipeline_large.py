"""A model of more than 500 weight files goes the whole way: made, published, verified, reviewed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hub import Hub
from mlx_publish.children.jobs import Job
from mlx_publish.conversion import weights
from mlx_publish.engine.backends import mlx_lm as backend
from mlx_publish.engine.convert import convert
from mlx_publish.evidence.records import to_json
from mlx_publish.text.progress import Tell
from models import make_model
from pipeline import QUICK, User, digests, read_json
from test_review import git

REPO = "ada/Deep-MLX-8bit"
LAYERS = 27
"""Each has seven matrices of three tensors and two norms."""


def one_tensor_a_file(planned: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: array} for name, array in planned.items()]


@pytest.fixture
def _cut_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convert in this process, and cut weight files as if each tensor had 5 GB."""

    def run(job: Job, progress: Tell) -> Any:
        assert job.op == "convert"
        return json.loads(json.dumps(to_json(convert(**json.loads(json.dumps(job.arguments)), progress=progress))))

    monkeypatch.setattr(backend, "shards", one_tensor_a_file)
    monkeypatch.setattr(weights, "run_job", run)


@pytest.mark.usefixtures("_cut_small")
def test_a_model_of_600_weight_files_goes_the_whole_way(tmp_path: Path) -> None:
    root = tmp_path / "repo"
    source = make_model(tmp_path / "Deep", layers=LAYERS, tie=False)
    with Hub(tmp_path / "hub") as hub:
        user = User(root, hub, "write")
        recipe = root / "recipes/deep.yaml"
        recipe.parent.mkdir(parents=True)
        keys = {"source": str(source), "base_model": "acme/base", "variants": ["8bit"], "to": REPO, "read_back": True}
        recipe.write_text(json.dumps(QUICK | keys))
        user.run("run", "--recipe", recipe, "--work", tmp_path / "work", "--into", "cards")
        model = tmp_path / "work/deep/8bit/model"
        shards = sorted(model.glob("*.safetensors"))
        assert len(shards) > 600
        assert shards[-1].name == f"model-{len(shards):05}-of-{len(shards):05}.safetensors"
        index = read_json(model / "model.safetensors.index.json")["weight_map"]
        assert sorted(index.values()) == [shard.name for shard in shards]

        # It is told before anything is sent.
        upload = ("upload", "--recipe", recipe, "--work", tmp_path / "work", "--cards", "cards")
        words = f"{len(list(model.iterdir()))} files for one commit, and the Hub advises 100"
        assert words in user.run(*upload, "--dry-run").text
        assert not hub.exists(REPO)

        [card] = root.glob("cards/**/README.md")
        git(root, "init", "--quiet")
        git(root, "commit", "--quiet", "--allow-empty", "--message", "Nothing yet")
        git(root, "switch", "--quiet", "--create", "proposed")
        git(root, "add", "recipes", "cards")
        git(root, "commit", "--quiet", "--message", "A card of 600 files")
        user.run("hook", "mlx-card", card.relative_to(root))
        user.run("review-cards", "--base", "main", "--cards", "cards")

        assert words in user.run(*upload).text
        [made, _] = hub.commits(REPO)
        assert made.title == "deep: 8bit of Deep"
        tree = {path: file.sha256 for path, file in hub.tree(REPO).items() if file.sha256}
        assert tree == {path: sha for path, sha in digests(model).items() if path.endswith(".safetensors")}
        evidence = json.loads(hub.read(REPO, "main", "mlx-publish.json"))
        assert len(evidence["model"]["files"]) > 600
        verified = json.loads(User(tmp_path / "anyone", hub).run("verify", REPO, "--json").out)
        assert verified["verdict"] == "pass"
