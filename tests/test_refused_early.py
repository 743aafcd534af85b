"""What `publish` and `upload` refuse, they refuse before a weight is read or downloaded; `upload --dry-run` foresees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Published

from hub import Hub  # isort: skip  before the client of the Hub

from huggingface_hub import HfApi

from models import make_model
from pipeline import User, digests, read_json, write_recipe

REPO = "lab/Tiny-MLX-4bit"
SOURCE = "acme/Tiny"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def ada(tmp_path: Path, hub: Hub) -> User:
    """Somebody with a token for the namespace lab, and a recipe whose source is on the Hub."""
    user = User(tmp_path / "home", hub, "write")
    folder = make_model(tmp_path / "Tiny")
    commit = hub.put(SOURCE, {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()})
    write(user, commit=commit)
    return user


def write(user: User, commit: str = "", **keys: object) -> None:
    """Write the recipe, with other keys than it has."""
    path = user.home / "recipes" / "tiny.yaml"
    known = json.loads(path.read_text()) if path.exists() else {}
    given = {"source": SOURCE, "variants": ["4bit"], "to": REPO} | known | keys
    write_recipe(path, **(given | ({"revision": commit} if commit else {})))


def refused(user: User, hub: Hub, *words: str, code: int = 1, command: str = "publish") -> str:
    """Run a command that is refused; assert that no weight was asked for, and nothing changed on the Hub."""
    before = len(hub.log)
    text = user.run(command, "--recipe", "recipes/tiny.yaml", *words, code=code).text
    asked = hub.log[before:]
    assert [one.path for one in asked if ".safetensors" in one.path] == []
    assert [one.path for one in asked if one.method not in ("GET", "HEAD")] == []
    assert list(user.home.rglob("*.safetensors")) == []
    assert not (user.home / "work/tiny/4bit/convert.json").exists()
    return text


def test_a_namespace_that_the_policy_forbids(ada: User, hub: Hub) -> None:
    (ada.home / "mlx-publish.yaml").write_text("namespaces: [acme]\n")
    assert "the namespace lab is not allowed" in refused(ada, hub, code=2)


@pytest.mark.parametrize("token", [None, "read", "stranger"])
def test_a_token_that_cannot_publish(ada: User, hub: Hub, token: str | None) -> None:
    ada.token = token
    assert "HF_TOKEN" in refused(ada, hub)


def test_a_repo_of_somebody_else(ada: User, hub: Hub) -> None:
    hub.put(REPO, {"README.md": b"by hand"})
    text = refused(ada, hub)
    assert f"{REPO} exists, but was not published from this source" in text
    assert "adopt: true" in text
    assert read_json(ada.home / "work/tiny/4bit/upload.json")["checks"][0]["id"] == "destination-ours"


def test_a_tag_that_stands_for_another_commit_of_the_source(ada: User, hub: Hub) -> None:
    theirs = {"source": {"name": "Tiny", "repo": SOURCE, "base_model": SOURCE, "identity": "f" * 40}}
    hub.put(REPO, {"mlx-publish.json": json.dumps(theirs).encode()})
    api_tag(hub, "v1")
    text = refused(ada, hub, "--tag", "v1")
    assert f"the tag v1 of {REPO} is at another commit" in text
    assert "with differences in the source's commit, the variant" in text


def api_tag(hub: Hub, tag: str) -> None:
    HfApi(hub.endpoint, token=hub.token("write")).create_tag(REPO, tag=tag)


def test_a_folder_that_holds_something_else(ada: User, hub: Hub) -> None:
    write(ada, to="folder:../out")
    (ada.home / "out").mkdir()
    (ada.home / "out" / "thesis.txt").write_text("mine")
    assert "contains files that were not published from this source" in refused(ada, hub)
    assert (ada.home / "out" / "thesis.txt").read_text() == "mine"


def test_cards_of_a_folder_that_was_never_made(ada: User, hub: Hub) -> None:
    text = refused(ada, hub, "--cards", "cards", command="upload", code=2)
    assert "The folder cards does not exist." in text
    assert "mlx-publish run --recipe recipes/tiny.yaml --into cards" in text
    (ada.home / "cards").mkdir()
    text = refused(ada, hub, "--cards", "cards", command="upload", code=2)
    assert "no reviewed card of 4bit" in text


def test_a_signing_key_that_is_missing(ada: User, hub: Hub) -> None:
    (ada.home / "mlx-publish.yaml").write_text("sign: key\n")
    assert "requires a signature by a key, but no key is set" in refused(ada, hub, code=2)


def test_a_pull_request_on_a_repo_that_does_not_exist(ada: User, hub: Hub) -> None:
    write(ada, create_pr=True)
    assert "does not exist, so no pull request can be opened on it" in refused(ada, hub)


def test_an_upload_of_what_was_never_tested(ada: User, hub: Hub) -> None:
    text = refused(ada, hub, command="upload")
    assert "4bit has not passed smoke and fidelity" in text
    assert "mlx-publish publish" in text


@pytest.fixture
def done(hub: Hub, tmp_path: Path, published: Published) -> tuple[User, list[str], Path]:
    """A work folder in which all is done but the upload to a Hub, and the flags that upload it."""
    work = published.copy_work(tmp_path / "work")
    return User(tmp_path / "home", hub, "write"), published.flags(REPO, work), work / "Scripted/4bit"


def writes(hub: Hub) -> list[str]:
    return [one.path for one in hub.log if one.method not in ("GET", "HEAD")]


def test_a_dry_run_names_each_file_and_writes_nothing(done: tuple[User, list[str], Path], hub: Hub) -> None:
    user, flags, variant = done
    before = (variant / "upload.json").read_bytes()
    text = user.run("upload", *flags, "--dry-run").text
    assert f"would send {len(digests(variant / 'model'))} of" in text
    for path, digest in digests(variant / "model").items():
        assert path in text
        assert path in ("README.md", "mlx-publish.json") or digest[:12] in text
    assert f"{REPO} does not exist yet and would be created" in text
    assert writes(hub) == []
    assert (variant / "upload.json").read_bytes() == before
    # It foresaw the tag and the digests of what is then sent.
    plan = json.loads(user.run("upload", *flags, "--dry-run", "--json").out)["4bit"]["upload"]["result"]
    user.run("upload", *flags)
    receipt = read_json(variant / "upload.json")["result"]
    assert (plan["tag"], plan["state"], plan["published"]) == (receipt["tag"], "new", False)
    assert sorted(file["path"] for file in plan["sent"]) == sorted(receipt["sent"])
    assert {file["path"]: file["sha256"] for file in plan["sent"]} == digests(variant / "model")


def test_a_dry_run_after_the_upload_has_nothing_to_send(done: tuple[User, list[str], Path]) -> None:
    user, flags, _ = done
    user.run("upload", *flags)
    text = user.run("upload", *flags, "--dry-run").text
    assert "would send 0 of" in text
    assert "exists already, for exactly these files" in text


def test_a_dry_run_names_what_would_be_removed_and_adopted(done: tuple[User, list[str], Path], hub: Hub) -> None:
    user, flags, _ = done
    hub.put(REPO, {"by-hand.txt": b"by hand"})
    assert "was not published from this source" in user.run("upload", *flags, "--dry-run", code=1).text
    text = user.run("upload", *flags, "--adopt", "true", "--dry-run").text
    assert "- by-hand.txt" in text
    assert "'adopt: true' would replace" in text
    assert writes(hub) == []


@pytest.mark.parametrize("token", [None, "read"])
def test_a_dry_run_needs_no_token_that_writes(done: tuple[User, list[str], Path], hub: Hub, token: str | None) -> None:
    user, flags, _ = done
    user.token = token
    text = user.run("upload", *flags, "--dry-run").text
    assert "so nothing could be published" in text
    assert writes(hub) == []


def test_a_dry_run_into_a_folder(done: tuple[User, list[str], Path], published: Published, tmp_path: Path) -> None:
    user, _, variant = done
    to = tmp_path / "out"
    flags = published.flags(to, variant.parents[1])
    user.run("upload", *flags, "--dry-run")
    assert not to.exists()
    user.run("upload", *flags)
    (to / "stray.txt").write_text("mine")
    (to / "config.json").write_text("{}")
    text = user.run("upload", *flags, "--dry-run").text
    assert "would send 1 of" in text
    assert "- stray.txt" in text
    assert (to / "stray.txt").exists()
