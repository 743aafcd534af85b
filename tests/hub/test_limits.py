"""What the Hub takes, by its documentation, and what it tells of an account."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import in_process
from hub import Hub, Token
from mlx_publish.hub.limits import GB, Load, Storage, judge, storage_of
from pipeline import User

SMALL = Load(files=9, largest=5 * GB, bytes=40 * GB, private=False)


def load(files: int = 9, largest: float = 5, total: float = 40, *, private: bool = False, folder: int = 9) -> Load:
    return Load(files, int(largest * GB), int(total * GB), private, folder=folder)


@pytest.mark.parametrize(
    "taken",
    [
        load(),
        load(total=99, private=True),
        load(total=1000),
        load(files=256, total=900),
        load(largest=200),
        load(folder=10_000),
        Load.of({}, private=True),
    ],
    ids=str,
)
def test_of_what_the_hub_takes_nothing_is_said(taken: Load) -> None:
    assert judge(taken) == ()


@pytest.mark.parametrize(
    ("over", "status", "said", "remedy"),
    [
        (load(largest=500.1, total=600), "fail", "a file of 500 GB, and the Hub takes none above 500 GB", "fewer bits"),
        (load(folder=10_001), "fail", "10,001 files in one folder, and the Hub takes 10,000", "Leave files out"),
        (load(largest=201, total=300), "warn", "a file of 201 GB, and the Hub advises to stay below 200 GB", ""),
        (load(files=257), "warn", "257 files for one commit, and the Hub advises 100", "answer may come late"),
        (load(total=1001), "warn", "1.0 TB for a public repo, and the Hub asks for a plan", "models@huggingface.co"),
        (load(total=101, private=True), "warn", "101 GB for a private repo", "remove 'private: true'"),
        (Load(9, 1, 60 * GB, False, one_token=True), "warn", "one token for one hour", "run the job again"),
    ],
    ids=str,
)
def test_what_is_over_is_named_with_the_next_step(over: Load, status: str, said: str, remedy: str) -> None:
    [finding] = judge(over)
    assert (finding.id, finding.status) == ("hub-limits", status)
    assert said in finding.message
    assert remedy in finding.remedy


def test_all_that_is_over_is_said_at_once_and_an_estimate_is_called_one() -> None:
    [finding] = judge(Load(20_000, 600 * GB, 2000 * GB, False, estimated=True, folder=20_000))
    assert finding.status == "fail"
    assert finding.message.startswith("the estimate has a file of 600 GB")
    assert all(words in finding.message for words in ("20,000 files in one folder", "one commit", "2.0 TB"))


def test_files_are_counted_by_their_folder() -> None:
    counted = Load.of({"a": 1, "b": 2, "additional_chat_templates/x.jinja": 5}, private=False)
    assert (counted.files, counted.largest, counted.bytes, counted.folder) == (3, 5, 8, 2)


@pytest.mark.parametrize(
    ("paid", "used", "warns"),
    [(True, 900 * GB, False), (False, 70 * GB, True), (False, 10 * GB, False), (None, 0, False), (None, None, False)],
)
def test_what_the_account_has_decides_where_the_hub_tells(paid: bool | None, used: int | None, warns: bool) -> None:
    found = judge(load(total=40, private=True), Storage("lab", paid, used))
    assert bool(found) is warns
    assert not warns or "lab has no paid plan and 70.0 GB in private repos" in found[0].message


def test_a_plan_that_nobody_knows_is_warned_of_by_size() -> None:
    [finding] = judge(load(total=140, private=True), Storage("lab", None, None))
    assert "lab has a plan that this token cannot see" in finding.message


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    tokens = (
        Token("free", "ada", ("lab",)),
        Token("pro", "eve", ("big", "old"), plans=(("eve", True), ("big", True))),
        Token("blind", "bob", role="read"),
    )
    with Hub(tmp_path / "hub", tokens=tokens) as hub:
        yield hub


@pytest.mark.parametrize(
    ("token", "repo", "expected"),
    [
        ("free", "ada/New", Storage("ada", False, 2000)),
        ("free", "lab/New", Storage("lab", None, 300)),
        ("pro", "EVE/New", Storage("EVE", True, 0)),
        ("pro", "big/New", Storage("big", True, 0)),
        ("pro", "old/New", Storage("old", None, 0)),
        ("free", "eve/New", Storage("eve", None, None)),
        (None, "ada/New", None),
    ],
    ids=str,
)
def test_plan_and_use_come_from_the_hub(
    hub: Hub, tmp_path: Path, token: str | None, repo: str, expected: Storage | None
) -> None:
    for name, size, private in (("ada/a", 2000, True), ("ada/b", 5000, False), ("lab/c", 300, True)):
        hub.put(name, {"model.safetensors": b"x" * size}, private=private)
    user = User(tmp_path / "home", hub, token)
    with in_process.surroundings(user.environment, user.home):
        assert storage_of(repo) == expected


def test_a_hub_that_does_not_answer_tells_nothing(hub: Hub, tmp_path: Path) -> None:
    user = User(tmp_path / "home", hub, "free")
    environment = user.environment | {"HF_TOKEN": "hf_" + "w" * 34}
    with in_process.surroundings(environment, user.home):
        assert storage_of("ada/New") is None
