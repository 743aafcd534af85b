"""From an event to a plan, or a message that lists what is allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from hostile import HOSTILE, WORSE
from mlx_publish.errors import BadInput
from mlx_publish.evidence.records import to_json
from mlx_publish.github import plan as plan_module
from mlx_publish.github.plan import Plan, Settings, make_plan, print_plan, read_event
from mlx_publish.github.request import ASKED, MOST_KEYS, Request, from_form, from_payload
from mlx_publish.github.runner import Runner

LISTED = "Tags are like: big.model/v1, small/v1, all/v1."
COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the root of a repo, as jobs are."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "small.yaml").write_text(
        f"source: a/small\nrevision: {COMMIT}\nvariants: [4bit, 8bit]\nto: lab/s-{{variant}}\n"
    )
    (folder / "big.model.yml").write_text(f"source: a/b\nrevision: {COMMIT}\nto: lab/big\n")
    for name in ("notes.md", "x.yxml"):
        (folder / name).write_text("no recipe\n")
    return folder


@pytest.fixture
def reviewed(tmp_path: Path) -> Path:
    """Cards of all of them."""
    for name in ("s-4bit", "s-8bit", "big"):
        folder = tmp_path / "cards/lab" / name
        folder.mkdir(parents=True)
        (folder / "README.md").touch()
        (folder / "evidence.json").touch()
    return tmp_path / "cards"


@pytest.fixture
def event(tmp_path: Path) -> Path:
    path = tmp_path / "event.json"
    path.write_text("{}")
    return path


def asked(recipes: Path, **payload: object) -> Plan:
    return make_plan(
        "repository_dispatch", {"action": "mlx-publish", "client_payload": payload}, "refs/heads/main", recipes
    )


def filled_in(recipes: Path, **fields: str) -> Plan:
    inputs = {key.replace("_", "-"): value for key, value in fields.items()}
    return make_plan("workflow_dispatch", {"inputs": inputs}, "refs/heads/main", recipes)


def job(**values: str) -> dict[str, str]:
    nothing = dict.fromkeys(("name", "recipe", "variant", "tag", "repo", *ASKED), "")
    return nothing | values


def test_a_tag_publishes_each_variant_of_its_recipe_by_a_job_of_its_own(recipes: Path, reviewed: Path) -> None:
    plan = make_plan("push", {}, "refs/tags/small/v1", recipes, settings=Settings(cards=reviewed))
    path = (recipes / "small.yaml").as_posix()
    assert to_json(plan) == {
        "schema": "mlx-publish/plan/1",
        "event": "push",
        "next": "publish",
        "callback": "",
        "review": {},
        "runs_on": ["self-hosted", "macOS", "ARM64"],
        "jobs": [
            job(name="small-4bit", recipe=path, variant="4bit", tag="v1", repo="lab/s-4bit"),
            job(name="small-8bit", recipe=path, variant="8bit", tag="v1", repo="lab/s-8bit"),
        ],
    }
    [other] = make_plan("push", {}, "refs/tags/big.model/v1.2-rc1", recipes, settings=Settings(cards=reviewed)).jobs
    assert (other["recipe"], other["tag"]) == ((recipes / "big.model.yml").as_posix(), "v1.2-rc1")


def test_all_publishes_every_recipe(recipes: Path, reviewed: Path) -> None:
    plan = make_plan("push", {}, "refs/tags/all/v2", recipes, settings=Settings(cards=reviewed))
    assert [(entry["name"], entry["tag"]) for entry in plan.jobs] == [
        ("big.model-4bit", "v2"),
        ("small-4bit", "v2"),
        ("small-8bit", "v2"),
    ]


def test_a_tag_on_what_nobody_has_reviewed_names_the_cards_that_lack(recipes: Path, reviewed: Path) -> None:
    (reviewed / "lab/s-8bit/evidence.json").unlink()
    with pytest.raises(BadInput) as caught:
        make_plan("push", {}, "refs/tags/all/v1", recipes, settings=Settings(cards=reviewed))
    assert caught.value.message == f"no card was reviewed in {reviewed.as_posix()}/lab/s-8bit"
    assert "Request small by the form" in caught.value.remedy


@pytest.mark.parametrize(
    "ref",
    [
        "refs/tags/tiny/v1",
        "refs/tags/small",
        "refs/tags/small/1",
        "refs/tags/small/vx",
        "refs/heads/main",
        "refs/heads/small/v1",
        "refs/tags/../small/v1",
        "refs/tags/a/small/v1",
        "refs/tags/small/v1;id",
        "small/v1",
        "",
        "refs/tags/small/v1 x",
        "refs/tags/notes/v1",
        "refs/tags/x/v1",
    ],
)
def test_other_tags_are_told_what_is_allowed(recipes: Path, reviewed: Path, ref: str) -> None:
    with pytest.raises(BadInput) as caught:
        make_plan("push", {}, ref, recipes, settings=Settings(cards=reviewed))
    assert str(caught.value.place) == "--ref"
    assert caught.value.remedy == LISTED
    tag = ref.removeprefix("refs/tags/")
    assert tag in caught.value.message


def test_a_folder_without_recipes(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="names no recipe in"):
        make_plan("push", {}, "refs/tags/all/v1", tmp_path)


@pytest.mark.parametrize(
    ("name", "payload"), [("pull_request", {}), ("issue_comment", {}), ("", {}), ("push", {"deleted": True})]
)
def test_other_events_start_nothing(recipes: Path, name: str, payload: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=f"the event '{name}' starts nothing") as caught:
        make_plan(name, payload, "refs/tags/small/v1", recipes)
    assert str(caught.value.place) == "--event-name"


def test_a_stranger_s_event_is_not_helped_by_inputs_of_a_calling_workflow(recipes: Path) -> None:
    given = {"recipe": "small"}
    assert make_plan("schedule", {}, "refs/heads/main", recipes, given=given).next == "review"
    for name in ("pull_request", "pull_request_target", "issues", "workflow_run"):
        with pytest.raises(BadInput, match="starts nothing"):
            make_plan(name, {}, "refs/heads/main", recipes, given=given)


def test_a_new_trigger_is_a_reader_of_its_event(recipes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def released(payload: Mapping[str, Any]) -> Request:
        return Request(recipe=payload["release"]["name"])

    monkeypatch.setattr(plan_module, "TRIGGERS", {**plan_module.TRIGGERS, "release": released})
    plan = make_plan("release", {"release": {"name": "small"}}, "refs/tags/v1", recipes)
    assert (plan.event, plan.next, plan.review["name"]) == ("release", "review", "small")


def test_a_dispatch_of_a_recipe_ends_with_one_pull_request(recipes: Path) -> None:
    plan = asked(recipes, recipe="small", callback="abc-1")
    whole = job(name="small", recipe=(recipes / "small.yaml").as_posix())
    assert (plan.next, plan.callback, plan.jobs, plan.review) == ("review", "abc-1", [whole], whole)
    plan = asked(recipes, recipe="small", variants=["8bit"], revision=COMMIT[::-1])
    assert [entry["variant"] for entry in plan.jobs] == ["8bit"]
    assert {entry["revision"] for entry in (*plan.jobs, plan.review)} == {COMMIT[::-1]}
    assert plan.review["variant"] == ""
    assert asked(recipes, recipe="small", dry_run=True).next == "nothing"


def test_a_form_with_a_source_describes_the_recipe_to_be(recipes: Path) -> None:
    plan = filled_in(
        recipes,
        recipe="",
        source=" a/New ",
        revision="main",
        variants="4bit,8bit",
        destination="lab/{source}-{variant}",
        modality="text",
        dry_run="false",
        notes="One\r\nTwo",
    )
    [made] = plan.jobs
    assert (
        made
        == plan.review
        == job(
            name="New",
            recipe=(recipes / "New.yaml").as_posix(),
            source="a/New",
            revision="main",
            variants="4bit,8bit",
            destination="lab/{source}-{variant}",
            modality="text",
            notes="One\nTwo",
        )
    )
    assert plan.next == "review"
    assert filled_in(recipes, source="a/New", variants="all", dry_run="true").next == "nothing"


def test_a_source_without_a_destination_means_its_recipe(recipes: Path) -> None:
    plan = asked(recipes, source="A/Small", revision=COMMIT[::-1], callback="webhook 1")
    assert plan.next == "review"
    assert plan.review == job(name="small", recipe=(recipes / "small.yaml").as_posix(), revision=COMMIT[::-1])
    (recipes / "again.yaml").write_text(f"source: a/small\nrevision: {COMMIT}\nto: lab/again\n")
    with pytest.raises(BadInput, match="several recipes have it: again, small"):
        asked(recipes, source="a/small", revision=COMMIT)


def test_settings_of_the_repo(recipes: Path) -> None:
    settings = Settings.from_env({"MLX_PUBLISH_RUNNER": "studio-1", "MLX_PUBLISH_PER": "variant"})
    payload = {"action": "mlx-publish", "client_payload": {"recipe": "small"}}
    plan = make_plan("repository_dispatch", payload, "", recipes, settings=settings)
    assert plan.runs_on == ["self-hosted", "macOS", "ARM64", "studio-1"]
    assert [entry["name"] for entry in plan.jobs] == ["small-4bit", "small-8bit"]
    for wrong in ({"MLX_PUBLISH_RUNNER": "a b"}, {"MLX_PUBLISH_PER": "model"}):
        with pytest.raises(BadInput) as caught:
            Settings.from_env(wrong)
        assert str(caught.value.place) == next(iter(wrong))


@pytest.mark.parametrize(
    ("payload", "key", "message"),
    [
        ({}, "recipe", "exactly one of recipe and source"),
        ({"recipe": "small", "source": "a/b"}, "recipe", "exactly one of recipe and source"),
        ({"source": "a/unknown"}, "destination", "no recipe has this source, and a new one needs a destination"),
        ({"source": "a/small", "revision": "main"}, "revision", "must be a commit (40 hex digits)"),
        ({"recipe": "small", "notes": "x"}, "notes", "the recipe sets this already"),
        ({"recipe": "small", "modality": "text"}, "modality", "the recipe sets this already"),
        ({"source": "a/b", "destination": "c/d", "modality": "images"}, "modality", "should be 'text'"),
        ({"recipe": "small", "destination": "lab/x"}, "destination", "the recipe sets this already"),
        ({"recipe": "small", "revision": "main"}, "revision", "must be a commit (40 hex digits)"),
        ({"recipe": "small", "variants": ["4bit", 8]}, "variants", "string"),
        ({"recipe": "small", "dry_run": "perhaps"}, "dry_run", "bool"),
        ({"recipe": ["small"]}, "recipe", "string"),
        ({"recipe": "small", "token": "hf_x"}, "token", "unknown key"),
        ({"recipe": "small", "reciepe\n::error::x": "y"}, "", "unknown key"),
    ],
)
def test_a_wrong_payload_is_told_key_and_reason(recipes: Path, payload: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        asked(recipes, **payload)
    assert key in (f"{caught.value.place}: {caught.value.key}")
    assert message in caught.value.message
    assert caught.value.remedy


def test_a_payload_that_is_no_object_or_too_large(recipes: Path) -> None:
    payloads: tuple[object, ...] = (None, [], "small", 3)
    for payload in payloads:
        with pytest.raises(BadInput, match="is not a JSON object"):
            make_plan("repository_dispatch", {"action": "mlx-publish", "client_payload": payload}, "", recipes)
    with pytest.raises(BadInput, match=f"has {MOST_KEYS + 1} keys; the limit is {MOST_KEYS}"):
        asked(recipes, **{f"k{number}": "x" for number in range(MOST_KEYS + 1)})
    with pytest.raises(BadInput, match="a dispatch of this type starts nothing"):
        make_plan("repository_dispatch", {"action": "other", "client_payload": {"recipe": "small"}}, "", recipes)


def test_a_recipe_or_variant_that_there_is_not_is_told_which_there_are(recipes: Path) -> None:
    with pytest.raises(BadInput, match="has no recipe 'tiny'") as caught:
        asked(recipes, recipe="tiny")
    assert caught.value.remedy == "Recipes: big.model, small."
    with pytest.raises(BadInput, match="has no variant 3bit") as caught:
        asked(recipes, recipe="small", variants="3bit")
    assert caught.value.remedy == "It has: 4bit, 8bit."
    with pytest.raises(BadInput, match="a recipe small exists already"):
        asked(recipes, source="x/small", destination="lab/x-{variant}")


def test_two_recipes_for_one_destination_are_refused(recipes: Path, reviewed: Path) -> None:
    (recipes / "other.yaml").write_text(f"source: b/s\nrevision: {COMMIT}\nto: LAB/S-8bit\n")
    for payload in ({"recipe": "other"}, {"recipe": "small"}, {"source": "x/y", "destination": "lab/s-8bit"}):
        with pytest.raises(BadInput, match=r"publishes to (lab/s|LAB/S)-8bit, too"):
            asked(recipes, **payload)
    with pytest.raises(BadInput, match=r"other\.yaml publishes to lab/s-8bit, too"):
        make_plan("push", {}, "refs/tags/small/v1", recipes, settings=Settings(cards=reviewed))
    assert asked(recipes, recipe="big.model").next == "review"


def test_the_policy_is_kept_before_any_machine_is_asked(recipes: Path, tmp_path: Path) -> None:
    (tmp_path / "mlx-publish.yaml").write_text("namespaces: [lab]\n")
    with pytest.raises(BadInput, match="the namespace eve is not allowed"):
        asked(recipes, source="x/new", revision=COMMIT, destination="eve/x")
    assert asked(recipes, source="x/new", revision=COMMIT, destination="lab/x").next == "review"


@pytest.mark.parametrize("key", ["recipe", "source", "revision", "variants", "destination", "callback", "notes"])
def test_hostile_values_are_refused_or_stay_text(recipes: Path, key: str) -> None:
    values = (*HOSTILE, *WORSE)
    assert len(set(values)) >= 200
    good = {"recipe": "small"} if key in ("recipe", "callback") else {"source": "a/new", "destination": "lab/new"}
    plans = [_plan_or_error(ask, recipes, {**good, key: value}) for ask in (asked, filled_in) for value in values]
    for value, plan in zip(values * 2, plans, strict=True):
        if isinstance(plan, BadInput):
            assert len(str(plan)) < 2000
            continue
        # What is let through stands in the plan as it came, or, of the form, without the space around it.
        whole = plan.callback if key == "callback" else plan.review[key]
        assert whole in (value, value.strip(), value.replace("\r\n", "\n"), f"{recipes.as_posix()}/{value}.yaml", "")
        if key not in ("notes", "callback") and value.strip():
            assert re.fullmatch(r"[A-Za-z0-9_{][A-Za-z0-9._/{}, -]*", value.strip())
            assert ".." not in value
    refused = sum(isinstance(plan, BadInput) for plan in plans)
    assert refused >= (0.05 if key in ("notes", "callback") else 0.9) * len(plans)


def _plan_or_error(ask: Callable[..., Plan], recipes: Path, given: dict[str, str]) -> Plan | BadInput:
    try:
        return ask(recipes, **given)
    except BadInput as error:
        return error


def test_every_control_character_is_refused_in_notes() -> None:
    allowed = {"\t", "\n"}
    for code in (*range(32), *range(127, 160), 0x202E, 0x2066):
        if chr(code) not in allowed and chr(code) != "\r":
            with pytest.raises(BadInput):
                from_payload({"source": "a/b", "destination": "c/d", "notes": f"x{chr(code)}y"})
    assert from_form({"source": "a/b", "destination": "c/d", "notes": "x\r\ny"}) == Request(
        keys={"source": "a/b", "to": "c/d", "notes": "x\ny"}
    )


def test_two_files_of_one_name_are_not_guessed_between(recipes: Path, reviewed: Path) -> None:
    (recipes / "small.yml").write_text("source: c/d\n")
    with pytest.raises(BadInput, match=r"duplicate of the recipe small\.yaml") as caught:
        make_plan("push", {}, "refs/tags/small/v1", recipes, settings=Settings(cards=reviewed))
    assert str(caught.value.place) == str(recipes / "small.yml")


def test_no_recipe_is_called_all(recipes: Path) -> None:
    (recipes / "all.yaml").write_text("source: c/d\n")
    with pytest.raises(BadInput, match="a recipe cannot be called all"):
        asked(recipes, recipe="small")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "not valid JSON: "),
        (b"", "not valid JSON: "),
        (b"\xff", "not UTF-8: "),
        (b"[]", "the event is not a JSON object"),
        (b"null", "the event is not a JSON object"),
        (None, "cannot be read: No such file or directory"),
        (b"[" * 100_000, "is nested too deeply"),
    ],
)
def test_a_broken_event_file_is_named(recipes: Path, event: Path, text: bytes | None, message: str) -> None:
    event.unlink()
    if text is not None:
        event.write_bytes(text)
    with pytest.raises(BadInput) as caught:
        make_plan("push", read_event(event), "refs/tags/small/v1", recipes)
    assert str(caught.value.place) in (str(event), f"{event}:1")
    assert caught.value.message.startswith(message)


def test_the_plan_is_printed_and_its_parts_are_outputs(
    recipes: Path, reviewed: Path, event: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_plan("push", read_event(event), "refs/tags/all/v1", recipes, settings=Settings(cards=reviewed))
    print_plan(made, Runner(output=str(tmp_path / "output")))
    plan = json.loads(capsys.readouterr().out)
    lines = (tmp_path / "output").read_text().splitlines()
    outputs = {lines[at].partition("<<")[0]: lines[at + 1] for at in range(0, len(lines), 3)}
    assert list(outputs) == ["next", "jobs", "review", "runs-on", "callback"]
    assert outputs["next"] == plan["next"] == "publish"
    assert json.loads(outputs["jobs"]) == plan["jobs"]
    assert json.loads(outputs["runs-on"]) == plan["runs_on"]
