"""The hooks as other repos have them: installed by pre-commit and by prek, from this repo's manifest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from act import copy_project
from hook_trees import make_tree
from mlx_publish.hooks import HOOKS

CARD, LINE = "cards/lab/Model-0-MLX-4bit/README.md", 21
PROGRAMS = Path(sys.executable).parent
# What tells pip and git of this machine's own ways to the registries and nothing of its user.
_PASSED = ("PATH", "SSL_CERT_FILE", "PIP_CERT", "PIP_INDEX_URL", "PIP_CONFIG_FILE", "UV_INDEX_URL", "LANG")
_WHO = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")


@dataclass(frozen=True)
class Tried:
    """A repo of models, and the kit that it takes its hooks from."""

    kit: Path
    repo: Path
    home: Path

    def run(self, program: str) -> subprocess.CompletedProcess[str]:
        """Run all hooks on all files by pre-commit or prek."""
        environment = {key: os.environ[key] for key in _PASSED if key in os.environ}
        return subprocess.run(
            [str(PROGRAMS / program), "try-repo", str(self.kit), "--all-files", "--verbose"],
            cwd=self.repo,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={
                **environment,
                "HOME": str(self.home),
                "PRE_COMMIT_HOME": str(self.home / "pre-commit"),
                "PREK_HOME": str(self.home / "prek"),
                "PREK_COLOR": "never",
                "PRE_COMMIT_COLOR": "never",
            },
        )


def commit(folder: Path) -> None:
    for words in (("add", "--all"), ("commit", "--quiet", "--message=all")):
        subprocess.run(["git", *_WHO, *words], cwd=folder, check=True)


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Tried:
    """Two cards, two recipes and two models, of which one card is not as it should be, and a recipe without a commit."""
    root = tmp_path_factory.mktemp("try-repo")
    copy_project(root / "kit")
    (root / "repo").mkdir()
    make_tree(root / "repo", 2)
    (root / "repo/.git").rmdir()
    (root / "repo/recipes/new.yaml").write_text("source: acme/new\nto: lab/new\n")
    card = root / "repo" / CARD
    text = card.read_text(encoding="utf-8")
    lines = text.split("\n")
    assert lines[LINE - 1].count("0.0451") == 1
    lines[LINE - 1] = lines[LINE - 1].replace("0.0451", "0.0450")
    card.write_text("\n".join(lines), encoding="utf-8")
    for name in ("kit", "repo"):
        subprocess.run(["git", *_WHO, "init", "--quiet"], cwd=root / name, check=True)
        commit(root / name)
    (root / "home").mkdir()
    return Tried(root / "kit", root / "repo", root / "home")


@pytest.mark.parametrize("program", ["pre-commit", "prek"])
def test_all_hooks_run_and_name_what_is_wrong(tried: Tried, program: str) -> None:
    ended = tried.run(program)
    said = ended.stdout + ended.stderr
    assert ended.returncode == 1, said
    for name in HOOKS:
        assert f"hook id: {name}" in said
    # Two hooks find one fault each, the other files of theirs and the other hooks' are as they should be.
    assert (said.count("Passed"), said.count("Failed")) == (len(HOOKS) - 2, 2), said
    found = re.findall(r"^ *(\S+:\d+): ", said, re.MULTILINE)
    assert sorted(found) == [f"{CARD}:{LINE}", "recipes/new.yaml:1"], said
    assert "0.0450" in said
    assert "revision: no revision is set" in said
