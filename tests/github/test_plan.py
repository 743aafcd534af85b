"""From an event to a plan, or a message that lists what is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.errors import BadInput
from mlx_publish.github.plan import make_plan, print_plan

LISTED = "Tags are like: big.model/v1, small/v1, all/v1."


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    folder = tmp_path / "recipes"
    folder.mkdir()
    for name in ("small.yaml", "big.model.yml", "notes.md", "x.yxml"):
        (folder / name).write_text("source: a/b\n")
    return folder


@pytest.fixture
def event(tmp_path: Path) -> Path:
    path = tmp_path / "event.json"
    path.write_text("{}")
    return path


def jobs(ref: str, recipes: Path) -> list[dict[str, Any]]:
    plan = make_plan("push", {}, ref, recipes)
    assert (plan["schema"], plan["event"]) == ("mlx-publish/plan/1", "push")
    found: list[dict[str, Any]] = plan["jobs"]
    return found


def test_a_tag_publishes_its_recipe(recipes: Path) -> None:
    assert jobs("refs/tags/small/v1", recipes) == [
        {"name": "small", "recipe": (recipes / "small.yaml").as_posix(), "tag": "v1"}
    ]
    assert jobs("refs/tags/big.model/v1.2-rc1", recipes) == [
        {"name": "big.model", "recipe": (recipes / "big.model.yml").as_posix(), "tag": "v1.2-rc1"}
    ]


def test_all_publishes_every_recipe(recipes: Path) -> None:
    assert [(job["name"], job["tag"]) for job in jobs("refs/tags/all/v2", recipes)] == [
        ("big.model", "v2"), ("small", "v2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "ref",
    ["refs/tags/tiny/v1", "refs/tags/small", "refs/tags/small/1", "refs/tags/small/vx", "refs/heads/main",
     "refs/heads/small/v1", "refs/tags/../small/v1", "refs/tags/a/small/v1", "refs/tags/small/v1;id", "small/v1", "",
     "refs/tags/small/v1 x", "refs/tags/notes/v1", "refs/tags/x/v1"],
)  # fmt: skip
def test_other_tags_are_told_what_is_allowed(recipes: Path, ref: str) -> None:
    with pytest.raises(BadInput) as caught:
        make_plan("push", {}, ref, recipes)
    assert caught.value.place == "--ref"
    assert caught.value.remedy == LISTED
    tag = ref.removeprefix("refs/tags/")
    assert tag in caught.value.message


def test_a_folder_without_recipes(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="names no recipe in"):
        make_plan("push", {}, "refs/tags/all/v1", tmp_path)


@pytest.mark.parametrize(
    ("name", "payload"),
    [("pull_request", {}), ("workflow_dispatch", {}), ("", {}), ("push", {"deleted": True})],
)
def test_other_events_start_nothing(recipes: Path, name: str, payload: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=f"the event '{name}' starts nothing") as caught:
        make_plan(name, payload, "refs/tags/small/v1", recipes)
    assert caught.value.place == "--event-name"


def test_two_files_of_one_name_are_not_guessed_between(recipes: Path) -> None:
    (recipes / "small.yml").write_text("source: c/d\n")
    with pytest.raises(BadInput, match=r"the same recipe as small\.yaml") as caught:
        make_plan("push", {}, "refs/tags/small/v1", recipes)
    assert caught.value.place == str(recipes / "small.yml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{", "not valid JSON: "), (b"", "not valid JSON: "), (b"\xff", "not valid JSON: "),
        (b"[]", "an event is a JSON object"), (b"null", "an event is a JSON object"),
        (None, "cannot be read: No such file or directory"),
    ],
)  # fmt: skip
def test_a_broken_event_file_is_named(recipes: Path, event: Path, text: bytes | None, said: str) -> None:
    event.unlink()
    if text is not None:
        event.write_bytes(text)
    with pytest.raises(BadInput) as caught:
        print_plan("push", event, "refs/tags/small/v1", recipes)
    assert caught.value.place == str(event)
    assert caught.value.message.startswith(said)


def test_the_plan_is_printed_and_its_jobs_are_an_output(
    recipes: Path, event: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    print_plan("push", event, "refs/tags/all/v1", recipes)
    plan = json.loads(capsys.readouterr().out)
    assert [job["name"] for job in plan["jobs"]] == ["big.model", "small"]
    name, value, _ = (tmp_path / "output").read_text().split("\n", 2)
    assert name.startswith("jobs<<end-")
    assert json.loads(value) == plan["jobs"]
