"""What released versions published is verified by this one, for ever. `nox -s keep` adds the present version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mlx_publish
from pipeline import User
from signing_keys import others_verify

FOLDER = Path(__file__).parent / "published"
VERSIONS = sorted(path for path in FOLDER.iterdir() if path.is_dir())
PROVEN = {
    "evidence-readable",
    "files-as-told",
    "evidence-whole",
    "weights-as-told",
    "signature-fits",
    "signed-by",
    "measured-by",
    "all-tested",
    "checks-told",
    "vouched-for",
}


def verified(home: Path, version: Path, *words: object) -> dict[str, dict[str, Any]]:
    [model] = (path for path in version.iterdir() if path.is_dir())
    asked = ("--key", version / "signing.pub.pem", "--signers", version / "signers.txt")
    ended = User(home).run("verify", model, "--json", *asked, *words, code=_code(version))
    return {check["id"]: check for check in json.loads(ended.out)["checks"]}


def _code(version: Path) -> int:
    """Words and templates of a version may still change until it is released; so may what its card says."""
    return 0 if version.name != mlx_publish.__version__ or not _changed(version) else 1


def _changed(version: Path) -> bool:
    from mlx_publish.card.render import render_card  # noqa: PLC0415  it is what this is about
    from mlx_publish.evidence.evidence import Evidence  # noqa: PLC0415  and reads

    [model] = (path for path in version.iterdir() if path.is_dir())
    evidence = Evidence.read(model / "mlx-publish.json")
    name = evidence.destination.name
    card = render_card(name, evidence.destination.repo or name, evidence.words.notes, evidence)
    return card != (model / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_what_a_version_published_is_verified_with_both_signatures(version: Path, tmp_path: Path) -> None:
    found = verified(tmp_path, version)
    assert {name for name, check in found.items() if check["status"] == "pass"} - {"card-as-told"} == PROVEN


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_others_still_accept_the_signature(version: Path) -> None:
    [model] = (path for path in version.iterdir() if path.is_dir())
    assert others_verify(model, version / "signing.pub.pem")[0] == 0


def test_the_present_version_is_among_them_and_all_are_small() -> None:
    assert mlx_publish.__version__ in {path.name for path in VERSIONS}
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 500_000
    assert not [path for path in FOLDER.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
