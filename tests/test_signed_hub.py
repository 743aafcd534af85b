"""A signed model on a Hub: signed as it arrives there, and published again without a change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import once
from hub import Hub
from mlx_publish.signing.keys import KEY
from models import answer_table, make_scripted
from pipeline import QUICK, User
from signing_keys import Pair, make_pair, others_verify

REPO = "lab/Scripted-MLX-4bit"


def publish(root: Path) -> None:
    """Publish to a Hub with a key of one's own; what stays is the Hub's disk, the work folder and the key."""
    model, pair = make_scripted(root / "model", answer_table()), make_pair(root / "keys")
    home = root / "home"
    home.mkdir()
    (home / "mlx-publish.yaml").write_text("sign: key\n")
    with Hub(root / "hub") as hub:
        commit = hub.put("acme/Scripted", {path.name: path for path in sorted(model.iterdir())})
        recipe = {"source": "acme/Scripted", "revision": commit, "to": "lab/{source}-MLX-{variant}", **QUICK}
        (home / "r.json").write_text(json.dumps(recipe))
        user = User(home, hub, "write", {KEY: pair.private.read_text()})
        user.run("publish", "--recipe", "r.json", "--work", root / "work")


@dataclass
class Signed:
    hub: Hub
    root: Path
    pair: Pair

    def user(self, token: str | None = None, **more: str) -> User:
        return User(self.root / "home", self.hub, token, more)


@pytest.fixture
def signed(shared: Path, tmp_path: Path) -> Iterator[Signed]:
    made = once(shared / "signed-hub", publish)
    for name in ("hub", "work", "home", "keys"):
        shutil.copytree(made / name, tmp_path / name)
    with Hub(tmp_path / "hub") as hub:
        yield Signed(hub, tmp_path, Pair(tmp_path / "keys/signing.pem", tmp_path / "keys/signing.pub.pem"))


def test_the_same_key_and_files_make_no_second_commit(signed: Signed) -> None:
    head = signed.hub.head(REPO)
    assert "model.sig" in signed.hub.tree(REPO)
    user = signed.user("write", **{KEY: str(signed.pair.private)})
    user.run("upload", "--recipe", "r.json", "--work", signed.root / "work")
    assert signed.hub.head(REPO) == head


def test_a_download_is_verified_by_others_word_for_word_and_by_us_without_whole_weights(signed: Signed) -> None:
    folder = signed.root / "model"
    for path in signed.hub.tree(REPO):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(signed.hub.read(REPO, "main", path))
    assert others_verify(folder, signed.pair.public)[0] == 0
    signed.hub.log.clear()
    report = json.loads(signed.user().run("verify", REPO, "--key", signed.pair.public, "--json").out)
    assert {check["status"] for check in report["checks"] if check["id"] in ("signature-fits", "signed-by")} == {"pass"}
    weights = signed.hub.tree(REPO)["model.safetensors"].digest
    asked = [request.status for request in signed.hub.log if request.path.endswith(("model.safetensors", weights))]
    assert 200 not in asked


def test_a_copy_under_another_name_is_told_from_the_original(signed: Signed) -> None:
    copied = {path: signed.hub.read(REPO, "main", path) for path in signed.hub.tree(REPO)}
    signed.hub.put("eve/Better", copied)
    report = json.loads(signed.user().run("verify", "eve/Better", "--key", signed.pair.public, "--json").out)
    [check] = [check for check in report["checks"] if check["id"] == "signed-by"]
    assert check["status"] == "warn"
    assert REPO in check["message"]
    assert "eve/Better" in check["message"]


def test_a_policy_that_asks_no_more_takes_the_signature_away(signed: Signed) -> None:
    (signed.root / "home/mlx-publish.yaml").unlink()
    signed.user("write").run("upload", "--recipe", "r.json", "--work", signed.root / "work")
    assert "model.sig" not in signed.hub.tree(REPO)
    signed.user().run("verify", REPO, "--key", signed.pair.public, code=1)
