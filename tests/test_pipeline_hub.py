"""Publishing to a Hub: one commit, compared, made public, tagged; and whatever may go wrong on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conftest import Published
from hub import Fault, Hub, Request
from pipeline import User, checks, digests, leftovers, read_json, remote_digests

REPO = "lab/Scripted-MLX-4bit"
MADE = {"README.md", "mlx-publish.json"}


@dataclass
class Publisher:
    """A work folder in which all is done but the upload, a Hub, and somebody with a token for it."""

    hub: Hub
    user: User
    published: Published
    work: Path

    @property
    def variant(self) -> Path:
        return self.work / "Scripted" / "4bit"

    def upload(self, *words: str, code: int = 0, **more: str) -> str:
        given = {key.replace("_", "-"): value for key, value in more.items()}
        return self.user.run("upload", *self.published.flags(REPO, self.work, **given), *words, code=code).text

    def log(self, method: str, path: str = "") -> list[Request]:
        return [one for one in self.hub.log if one.method == method and path in one.path]

    def sent_files(self) -> list[str]:
        sent: list[str] = read_json(self.variant / "upload.json")["result"]["sent"]
        return sent


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub", page_size=5) as hub:
        yield hub


@pytest.fixture
def ada(hub: Hub, tmp_path: Path, published: Published) -> Publisher:
    return Publisher(hub, User(tmp_path / "home", hub, "write"), published, published.copy_work(tmp_path / "work"))


def changes(hub: Hub) -> list[str]:
    """Return the requests that change something on the Hub, in their order, by the last word of their path."""
    names = {"create", "settings", "commit", "tag", "storage", "complete_multipart", "batch", "preupload"}
    return [
        next(part for part in reversed(one.path.split("/")) if part in names)
        for one in hub.log
        if one.method not in ("GET", "HEAD") and not names.isdisjoint(one.path.split("/"))
    ]


def state(hub: Hub, repo: str = REPO) -> dict[str, object]:
    found = hub.store.find(repo)
    assert found
    return found.state


def remote(hub: Hub, rev: str = "main") -> dict[str, str]:
    return remote_digests(hub, REPO, rev)


def test_one_commit_brings_everything_then_the_repo_is_public_then_tagged(ada: Publisher, hub: Hub) -> None:
    ended = ada.upload()
    assert [commit.title for commit in hub.commits(REPO)] == ["Scripted: 4bit of Scripted", "initial commit"]
    assert remote(hub) == digests(ada.variant / "model")
    assert state(hub)["private"] is False
    [(tag, commit)] = hub.tags(REPO).items()
    assert (tag.rpartition("-")[0], len(tag.rpartition("-")[2]), commit) == ("content", 12, hub.head(REPO))
    # Private from the first request to the last byte; public after the comparison; tagged last.
    order = list(dict.fromkeys(changes(hub)))
    assert order == ["create", "preupload", "batch", "storage", "commit", "settings", "tag"]
    log = hub.log
    committed = next(number for number, one in enumerate(log) if one.method == "POST" and "/commit/" in one.path)
    opened = next(number for number, one in enumerate(log) if one.method == "PUT" and "/settings" in one.path)
    assert any("/tree/" in one.path for one in log[committed:opened]), "it was not compared before it was opened"
    receipt = read_json(ada.variant / "upload.json")
    assert (receipt["result"]["repo"], receipt["result"]["commit"], receipt["result"]["tag"]) == (REPO, commit, tag)
    assert checks(ada.variant, "upload")["remote-equal"] == "pass"
    assert ended.count("FAIL") == 0


def test_a_repo_stays_private_where_the_recipe_says_so(ada: Publisher, hub: Hub) -> None:
    ada.upload(private="true")
    assert state(hub)["private"] is True
    assert "settings" not in changes(hub)


def test_a_tag_of_ones_own(ada: Publisher, hub: Hub) -> None:
    ada.upload("--tag", "v1")
    assert hub.tags(REPO) == {"v1": hub.head(REPO)}


def test_the_token_is_nowhere(ada: Publisher, hub: Hub) -> None:
    said = ada.upload()
    secret = hub.token("write")
    assert secret not in said
    everything = [path for folder in (ada.work, ada.user.home) for path in folder.rglob("*") if path.is_file()]
    assert len(everything) > 10
    assert [path for path in everything if secret.encode() in path.read_bytes()] == []
    assert all(secret.encode() not in hub.read(REPO, "main", path) for path in hub.tree(REPO))


def test_of_a_whole_run_no_file_and_no_line_holds_the_token(ada: Publisher, hub: Hub, tmp_path: Path) -> None:
    """All stages, with a source on the Hub, what they print, keep, cache and publish."""
    source = {path.name: path for path in ada.published.source.iterdir()}
    hub.put("lab/base", source, private=True)
    hub.faults.append(Fault("POST", "/commit/", status=500))
    given = ("--source", "lab/base", "--variants", "4bit", "--to", REPO, "--work", str(tmp_path / "all"))
    said = ada.user.run("publish", *given, "--json").text
    secret = hub.token("write").encode()
    kept = [path for folder in (tmp_path / "all", ada.user.home) for path in folder.rglob("*") if path.is_file()]
    assert {"upload.json", "README.md", "evidence.json", "model.safetensors"} <= {path.name for path in kept}
    assert [path for path in kept if secret in path.read_bytes()] == []
    assert secret.decode() not in said
    assert all(secret not in hub.read(REPO, "main", path) for path in hub.tree(REPO))
    # What changes something begins with the upload.
    first = next(number for number, one in enumerate(hub.log) if one.method not in ("GET", "HEAD"))
    assert hub.log[first].path == "/api/repos/create"
    assert any("model.safetensors" in one.path for one in hub.log[:first])


def test_the_same_again_sends_nothing(ada: Publisher, hub: Hub) -> None:
    ada.upload()
    before, head = len(changes(hub)), hub.head(REPO)
    ada.upload()
    assert (changes(hub)[before:], hub.head(REPO)) == ([], head)
    assert ada.sent_files() == []


def test_other_notes_send_the_card_alone(ada: Publisher, hub: Hub) -> None:
    ada.upload()
    stored = len(ada.log("PUT", "/storage/"))
    ada.upload(notes="Now with a note.")
    assert {"README.md"} <= set(ada.sent_files()) <= MADE
    assert len(ada.log("PUT", "/storage/")) == stored
    assert len(hub.commits(REPO)) == 3
    assert b"Now with a note." in hub.read(REPO, "main", "README.md")
    assert sorted(hub.tags(REPO).values()) == sorted(commit.id for commit in hub.commits(REPO)[:2])


def test_old_files_of_our_own_repo_go_in_the_same_commit(ada: Publisher, hub: Hub) -> None:
    ada.upload()
    [tagged] = hub.tags(REPO).values()
    hub.put(REPO, {"model-00001-of-00002.safetensors": b"old", "notes/old.txt": b"old"})
    ada.upload()
    assert remote(hub) == digests(ada.variant / "model")
    assert len(hub.commits(REPO)) == 4
    # The tag of this evidence has these very files already, at an older commit.
    assert list(hub.tags(REPO).values()) == [tagged]
    assert set(read_json(ada.variant / "upload.json")["result"]["removed"]) == {
        "model-00001-of-00002.safetensors",
        "notes/old.txt",
    }


@pytest.mark.parametrize(
    "theirs",
    [
        {"README.md": b"# mine\n"},
        {"mlx-publish.json": b'{"source": {"name": "Other", "repo": null, "base_model": null}}'},
        {"mlx-publish.json": b"[]"},
        {"mlx-publish.json": b"not JSON"},
    ],
)
def test_a_repo_of_something_else_is_left_alone_unless_adopted(
    ada: Publisher, hub: Hub, theirs: dict[str, bytes]
) -> None:
    head = hub.put(REPO, theirs)
    said = ada.upload(code=1)
    assert f"{REPO} exists, but was not published from this source" in said
    assert "adopt: true" in said
    assert (hub.head(REPO), changes(hub)) == (head, [])
    assert checks(ada.variant, "upload")["destination-ours"] == "fail"
    ada.upload(adopt="true")
    assert remote(hub) == digests(ada.variant / "model")


def test_a_tag_at_another_commit_is_refused_before_anything_changes(ada: Publisher, hub: Hub) -> None:
    ada.upload("--tag", "v1")
    head = hub.head(REPO)
    said = ada.upload("--tag", "v1", notes="A note.", code=1)
    assert f"the tag v1 of {REPO} is at another commit ({head[:12]})" in said
    assert "README.md" in said
    assert (hub.head(REPO), hub.tags(REPO)) == (head, {"v1": head})


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("token", ["read", "stranger"])
def test_a_token_that_may_not_write_changes_nothing(ada: Publisher, hub: Hub, token: str, there: bool) -> None:
    if there:
        hub.put(REPO, {"README.md": b"# there\n"})
    ada.user.token = token
    said = ada.upload(code=1)
    assert ("is a read token" if token == "read" else "answered 403" if there else "it belongs to eve") in said
    assert "Set HF_TOKEN to a token with" in said
    assert changes(hub) == []
    assert hub.exists(REPO) is there


@pytest.mark.parametrize("token", [None, "read", "stranger"])
def test_rights_are_asked_before_anything_is_converted(ada: Publisher, hub: Hub, token: str | None) -> None:
    ada.user.token = token
    work = ada.user.home / "fresh"
    said = ada.user.run("publish", *ada.published.flags(REPO, work), code=1).text
    assert "HF_TOKEN" in said
    assert not list(work.rglob("*.json"))
    assert (changes(hub), hub.exists(REPO)) == ([], False)


def test_a_trusted_publisher_exchanges_its_identity_when_it_publishes(ada: Publisher, hub: Hub) -> None:
    hub.store.create(REPO, private=False).commit("main", {}, "made by hand")
    ada.user.token = None
    ada.user.more |= {
        "HF_OIDC_RESOURCE": REPO,
        "GITHUB_ACTIONS": "true",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of the job",
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{hub.endpoint}/id-token",
    }
    said = ada.upload()
    log = hub.log
    exchanged = next(number for number, one in enumerate(log) if one.path == "/oauth/token")
    assert {one.token_name for one in log[:exchanged]} <= {None, "(unknown)"}
    assert [one.path for one in log].count("/oauth/token") == 1
    assert remote(hub) == digests(ada.variant / "model")
    assert list(hub.tags(REPO).values()) == [hub.head(REPO)]
    secret = hub.token("write")
    assert secret not in said
    everything = [path for folder in (ada.work, ada.user.home) for path in folder.rglob("*") if path.is_file()]
    assert [path for path in everything if secret.encode() in path.read_bytes()] == []


def test_no_token_file_is_read(ada: Publisher, hub: Hub) -> None:
    ada.user.token = None
    (ada.user.home / "huggingface").mkdir(parents=True)
    (ada.user.home / "huggingface" / "token").write_text(hub.token("write"))
    assert "no token to publish with" in ada.upload(code=1)
    assert {one.token_name for one in hub.log} <= {None}


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("lab/Other", "HF_OIDC_RESOURCE names lab/Other"),
        (REPO, "this job has no OIDC identity to exchange"),
    ],
)
def test_a_trusted_publisher_that_cannot_be_one_is_told_before(ada: Publisher, hub: Hub, named: str, said: str) -> None:
    ada.user.more["HF_OIDC_RESOURCE"] = named
    assert said in ada.upload(code=1)
    assert hub.log == []


def test_without_a_token_nothing_is_published(ada: Publisher, hub: Hub) -> None:
    ada.user.token = None
    said = ada.upload(code=1)
    assert "HF_TOKEN" in said
    assert not hub.exists(REPO)


@pytest.mark.parametrize(
    "fault",
    [
        {"method": "POST", "pattern": "/commit/", "kind": "lost-response"},
        {"method": "POST", "pattern": "/commit/", "kind": "reset"},
        {"method": "POST", "pattern": "/commit/", "status": 500},
        {"method": "POST", "pattern": "/commit/", "status": 412},
        {"method": "PUT", "pattern": "/storage/", "kind": "lost-response"},
        {"method": "POST", "pattern": "/preupload/", "status": 429},
        {"method": "POST", "pattern": "/preupload/", "status": 500},
        {"method": "PUT", "pattern": "/settings", "status": 500, "times": 3},
        {"method": "PUT", "pattern": "/settings", "kind": "lost-response"},
        {"method": "POST", "pattern": "/tag/", "status": 503, "times": 3},
        {"method": "POST", "pattern": "/tag/", "kind": "lost-response"},
    ],
    ids=str,
)
def test_a_lost_answer_is_looked_up_and_no_commit_is_doubled(ada: Publisher, hub: Hub, fault: dict[str, Any]) -> None:
    hub.faults.append(Fault(**fault))
    ada.upload()
    refused = [one for one in ada.log("POST", "/commit/") if one.status != 200]
    assert len(refused) == (fault["pattern"] == "/commit/" and "status" in fault)
    assert len(ada.log("POST", "/commit/")) == 1 + len(refused)
    assert_published(ada)


@pytest.mark.parametrize(
    "fault",
    [
        {"method": "POST", "pattern": "/commit/", "status": 500, "times": 4},
        {"method": "PUT", "pattern": "/settings", "status": 500, "times": 4},
        {"method": "POST", "pattern": "/tag/", "status": 500, "times": 4},
    ],
    ids=str,
)
def test_after_a_fault_the_next_run_finishes(ada: Publisher, hub: Hub, fault: dict[str, Any]) -> None:
    hub.faults.append(Fault(**fault))
    said = ada.upload(code=4)
    assert "next: Run the same command again later" in said
    # The branch is as it was or as it is to be, and nobody sees it before it is complete.
    assert len(hub.commits(REPO)) == 1 or remote(hub) == digests(ada.variant / "model")
    assert state(hub)["private"] is (fault["pattern"] != "/tag/")
    assert hub.tags(REPO) == {}
    assert read_json(ada.variant / "upload.json")["verdict"] == "error"
    ada.upload()
    assert_published(ada)


def test_a_repo_that_somebody_made_and_filled_keeps_its_visibility(ada: Publisher, hub: Hub) -> None:
    hub.put(REPO, {"README.md": b"# a draft\n"}, private=True)
    ada.upload(adopt="true")
    assert state(hub)["private"] is True


def test_a_commit_of_somebody_else_meanwhile_is_not_overwritten(ada: Publisher, hub: Hub) -> None:
    ada.upload()
    hub.faults.append(Fault("POST", "/commit/", kind="foreign"))
    said = ada.upload(notes="A note.", code=4)
    assert "somebody else committed in the meantime" in said
    assert [commit.title for commit in hub.commits(REPO)][:2] == ["theirs", "Scripted: 4bit of Scripted"]
    assert hub.read(REPO, "main", "theirs.txt") == b"theirs"
    ada.upload(notes="A note.")
    assert remote(hub) == digests(ada.variant / "model")
    assert "theirs" in [commit.title for commit in hub.commits(REPO)]


def test_a_commit_that_does_not_concern_the_model_is_built_upon(ada: Publisher, hub: Hub) -> None:
    ada.upload()
    hub.faults.append(Fault("POST", "/commit/", kind="foreign", theirs=".gitattributes"))
    said = ada.upload(notes="A note.")
    assert "committing on top of it" in said
    assert [commit.title for commit in hub.commits(REPO)][:3] == [
        "Scripted: 4bit of Scripted",
        "theirs",
        "Scripted: 4bit of Scripted",
    ]
    assert hub.read(REPO, "main", ".gitattributes") == b"theirs"
    assert remote(hub) == digests(ada.variant / "model")
    assert hub.head(REPO) in hub.tags(REPO).values()


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(("pattern", "left"), [("/preupload/", False), ("/objects/batch", False), ("/commit/", True)])
def test_rights_that_end_in_the_middle_leave_nothing_or_something_private(
    ada: Publisher, hub: Hub, pattern: str, left: bool, status: int
) -> None:
    hub.faults.append(Fault("POST", pattern, status=status))
    said = ada.upload(code=1)
    assert f"the Hub answered {status}" in said
    assert "Set HF_TOKEN to a token with access to this repo." in said
    assert hub.exists(REPO) is left
    if left:
        assert "stays private until it is complete" in said
        assert (state(hub)["private"], hub.tags(REPO), len(hub.commits(REPO))) == (True, {}, 1)
    ada.upload()
    assert_published(ada)


def test_rights_that_end_before_the_tag_are_told_as_what_they_leave(ada: Publisher, hub: Hub) -> None:
    hub.faults.append(Fault("POST", "/tag/", status=403))
    assert f"{REPO} is complete and public; the next run completes it" in ada.upload(code=1)
    assert (state(hub)["private"], hub.tags(REPO)) == (False, {})
    ada.upload()
    assert_published(ada)


def test_a_repo_that_cannot_be_removed_is_named(ada: Publisher, hub: Hub) -> None:
    hub.faults += [Fault("POST", "/preupload/", status=403), Fault("DELETE", "/repos/delete", status=403)]
    assert f"{REPO} was created and remains private and empty" in ada.upload(code=1)
    ada.upload()
    assert_published(ada)


def test_other_bytes_on_the_hub_are_refused_and_stay_private_without_a_tag(ada: Publisher, hub: Hub) -> None:
    hub.faults.append(Fault("POST", "/commit/", kind="corrupt", theirs="config.json"))
    said = ada.upload(code=1)
    assert "differs from what was sent: config.json" in said
    assert checks(ada.variant, "upload")["remote-equal"] == "fail"
    assert (state(hub)["private"], hub.tags(REPO)) == (True, {})
    ada.upload()
    assert remote(hub) == digests(ada.variant / "model")
    assert state(hub)["private"] is False
    assert list(hub.tags(REPO).values()) == [hub.head(REPO)]


def test_bytes_are_read_back_where_that_is_asked_for(ada: Publisher, hub: Hub) -> None:
    said = ada.upload("-v", read_back="true")
    sizes = [path.stat().st_size for path in (ada.variant / "model").iterdir()]
    count = sum(min(size, 3 << 16) for size in sizes)
    assert f"{count:,} bytes were read back" in " ".join(said.split())
    assert read_json(ada.variant / "upload.json")["result"]["read_back"] == count
    assert count < sum(sizes)


def test_a_hub_that_hands_out_other_bytes_under_the_right_digest_is_found(ada: Publisher, hub: Hub) -> None:
    hub.faults.append(Fault("POST", "/commit/", kind="rotten", theirs="model.safetensors"))
    said = ada.upload(code=1, read_back="true")
    assert "model.safetensors at" in said
    assert "downloads with different bytes" in " ".join(said.split())
    assert (state(hub)["private"], hub.tags(REPO)) == (True, {})


def test_a_private_repo_of_ours_that_this_machine_did_not_begin_stays_private(ada: Publisher, hub: Hub) -> None:
    ada.upload()
    repo = hub.store.find(REPO)
    assert repo
    repo.update(private=True, tags={})
    said = ada.upload("-v")
    assert state(hub)["private"] is True
    assert "the repo is private as before" in " ".join(said.split())
    assert list(hub.tags(REPO).values()) == [hub.head(REPO)]


@pytest.mark.parametrize("token", ["write", "stranger"])
def test_a_pull_request_on_the_hub_leaves_the_branch_alone(ada: Publisher, hub: Hub, token: str) -> None:
    ada.upload()
    head, tags = hub.head(REPO), hub.tags(REPO)
    ada.user.token = token
    said = ada.upload(create_pr="true", notes="A note.")
    address = f"{hub.endpoint}/{REPO}/discussions/1"
    assert address in "".join(said.split())
    assert (hub.head(REPO), hub.tags(REPO)) == (head, tags)
    assert remote(hub, "refs/pr/1") == digests(ada.variant / "model")
    result = read_json(ada.variant / "upload.json")["result"]
    assert (result["pull_request"], result["tag"], result["sent"]) == (address, "", ada.sent_files())
    # The same again finds it, other content opens another, and what the branch has needs none.
    ada.upload(create_pr="true", notes="A note.")
    assert len(state(hub)["pulls"]) == 1  # type: ignore[arg-type]
    ada.upload(create_pr="true", notes="Another note.")
    assert len(state(hub)["pulls"]) == 2  # type: ignore[arg-type]
    ada.upload(create_pr="true")
    assert len(state(hub)["pulls"]) == 2  # type: ignore[arg-type]
    assert read_json(ada.variant / "upload.json")["result"]["pull_request"] == ""


def test_a_pull_request_on_nothing_is_refused_before_anything_is_converted(ada: Publisher, hub: Hub) -> None:
    said = ada.user.run("publish", *ada.published.flags(REPO, ada.user.home / "fresh", **{"create-pr": "true"}), code=1)
    assert f"{REPO} does not exist, so no pull request can be opened on it" in said.text
    assert not list((ada.user.home / "fresh").rglob("*.json"))
    assert changes(hub) == []


def test_the_repo_is_added_to_a_collection_once_it_is_tagged(ada: Publisher, hub: Hub) -> None:
    hub.faults.append(Fault("POST", "/collections/", status=500, times=1))
    for _ in range(2):
        ada.upload(collection="lab/best-models-1")
        assert hub.store.collection("lab/best-models-1") == [{"id": REPO, "type": "model"}]
    log = [one.path for one in hub.log if one.method == "POST"]
    assert next(n for n, path in enumerate(log) if "/tag/" in path) < next(
        n for n, path in enumerate(log) if "/coll" in path
    )


def test_a_wait_longer_than_anybody_has_ends_the_upload(ada: Publisher, hub: Hub) -> None:
    hub.faults.append(Fault("POST", "/preupload/", status=429, retry_after=3600))
    assert "asks for a wait of 3600 s" in ada.upload(code=4)
    ada.upload()
    assert_published(ada)


def test_the_value_of_a_secret_in_a_note_is_not_published(ada: Publisher, hub: Hub) -> None:
    ada.user.more["DEPLOY_PASSWORD"] = "correct horse battery"
    said = ada.upload(notes="Log in with correct horse battery.", code=1)
    assert "a secret would be published: README.md:" in said
    assert (changes(hub), checks(ada.variant, "upload")["no-secrets"]) == ([], "fail")


def assert_published(ada: Publisher) -> None:
    hub = ada.hub
    assert [commit.title for commit in hub.commits(REPO)] == ["Scripted: 4bit of Scripted", "initial commit"]
    assert remote(hub) == digests(ada.variant / "model")
    assert state(hub)["private"] is False
    assert list(hub.tags(REPO).values()) == [hub.head(REPO)]
    assert not leftovers(ada.work)
