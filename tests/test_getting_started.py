"""docs/getting-started.md is walked word for word, from an empty home to a published model on the loopback Hub."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hub import Hub
from mlx_publish.text import kit
from models import answer_table, make_scripted

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/getting-started.md").read_text(encoding="utf-8")
MODEL = "HuggingFaceTB/SmolLM2-360M-Instruct"

STANDS_IN = {
    # What cannot be had here: by what, and why. Everything else in the guide runs as it stands.
    "pip install": "a script that puts this checkout into the environment: GitHub is not reachable",
    "gh": "tests/fake_gh.py, which answers what was set before, for a bare repo in a folder: there is no GitHub",
    "./config.sh, ./svc.sh": "scripts in the archive that the fake gh hands out: the runner is a program for GitHub",
    "gh run watch": "the commands of the job `publish`, by the fake gh: nobody runs workflows (tests/test_workflows.py does, by act)",
    MODEL: "a tiny model of that name on the loopback Hub, which HF_ENDPOINT names",
    "https://github.com/ada/models.git": "the bare repo, by git's insteadOf",
}
INSTALL = f"pip install '{kit.NAME}[mlx] @ git+{kit.SERVER}/{kit.REPO}'"


def blocks() -> list[str]:
    """The shell blocks of the guide, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Walk:
    """What a reader of the guide has in the end."""

    home: Path
    hub: Hub
    out: str
    log: str

    @property
    def models(self) -> Path:
        return self.home / "models"


def program(path: Path, *words: str) -> None:
    path.write_text(f'#!/bin/sh\nexec {" ".join(words)} "$@"\n')
    path.chmod(0o755)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    base = tmp_path_factory.mktemp("guide")
    home, aside, state = base / "home", base / "bin", base / "github"
    for folder in (home, aside, state, base / "tmp"):
        folder.mkdir()
    command = f"env PYTHONPATH={ROOT / 'scripts'} {sys.executable} -m mlx_publish"
    program(aside / "gh", sys.executable, str(ROOT / "tests/fake_gh.py"), str(state))
    program(aside / "install-the-kit", "sh", str(aside / "install.sh"))
    (aside / "install.sh").write_text(
        f'printf \'#!/bin/sh\\nexec {command} "$@"\\n\' > "$VIRTUAL_ENV/bin/mlx-publish"\n'
        'chmod +x "$VIRTUAL_ENV/bin/mlx-publish"\n'
    )
    (aside / "python3").symlink_to(Path(sys.executable).resolve())
    text = "\n".join(blocks())
    assert text.count(INSTALL) == 1
    (base / "guide.sh").write_text(f"set -eux\n{text.replace(INSTALL, 'install-the-kit')}")
    model = make_scripted(base / "model", answer_table())
    with Hub(base / "hub") as hub:
        hub.put(MODEL, {path.name: path for path in model.iterdir()})
        environment = hub.environment(None, home) | {
            "PATH": f"{aside}{os.pathsep}/usr/local/bin:/usr/bin:/bin",
            "TMPDIR": str(base / "tmp"),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{state / 'origin.git'}.insteadOf",
            "GIT_CONFIG_VALUE_0": "https://github.com/ada/models.git",
        }
        (base / "token").write_text(hub.token("write"))
        with (base / "token").open() as token:
            done = subprocess.run(
                ["sh", str(base / "guide.sh")],
                env=environment,
                cwd=home,
                stdin=token,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=600,
                check=False,
            )
        assert done.returncode == 0, done.stdout[-6000:]
        yield Walk(home, hub, done.stdout, (state / "log").read_text())


def test_every_step_has_its_command_and_nothing_is_left_to_fill_in() -> None:
    steps = re.split(r"^## (?=\d)", PAGE.partition("\n## What comes next")[0], flags=re.MULTILINE)[1:]
    assert len(steps) == 7
    assert all("```sh\n" in step for step in steps)
    assert blocks()[0].splitlines()[0].startswith("export NAMESPACE=")
    for step in blocks():
        assert not re.search(r"(^|\s)#\s", step), "zsh, the shell of a Mac, takes no comments from a terminal"
        assert not re.search(r"OWNER|COMMIT|your-name|0{40}|<[a-z-]+>|\.\.\.", step), step
    assert set(re.findall(r"\$([A-Z]+)", "".join(blocks()))) == set(re.findall(r"export (\w+)=", blocks()[0]))


def test_only_what_the_guide_does_is_replaced() -> None:
    text = "\n".join(blocks()).replace("$MODELS", "ada/models")
    for name in STANDS_IN:
        for word in name.removesuffix(".git").split(", "):
            assert word in text, word


def test_after_the_installation_it_takes_six_commands_at_most() -> None:
    lines = [line for block in blocks()[1:] for line in block.splitlines()]
    commands = [line for line in lines if line.startswith(("mlx-publish ", "git "))]
    way = [line for line in commands if not line.startswith("mlx-publish doctor")]
    assert [re.match(r"(?:mlx-publish )?\w+", line)[0] for line in way] == [  # type: ignore[index]
        "mlx-publish init",
        "mlx-publish run",
        "mlx-publish review",
        "git",
        "mlx-publish verify",
    ]


@pytest.mark.slow
def test_the_guide_ends_at_a_model_that_is_published_as_it_was_reviewed(walk: Walk) -> None:
    for variant in ("4bit", "8bit", "bf16"):
        repo = f"ada/SmolLM2-360M-Instruct-MLX-{variant}"
        assert set(walk.hub.tags(repo)) == {"v1"}
        reviewed = (walk.models / "cards" / repo / "README.md").read_bytes()
        assert walk.hub.read(repo, "v1", "README.md") == reviewed


@pytest.mark.slow
def test_no_file_was_edited_by_hand(walk: Walk) -> None:
    git = ("git", "-C", str(walk.models))
    changed = subprocess.check_output([*git, "diff", "--name-only", "main", "origin/main"], text=True).split()
    assert changed
    assert all(name.startswith("cards/") for name in changed), changed
    recipe = (walk.models / "recipes/smollm2-360m.yaml").read_text()
    assert walk.hub.head(MODEL) in recipe


@pytest.mark.slow
def test_what_the_guide_sets_is_what_doctor_wants_set(walk: Walk) -> None:
    assert "ada/models: ready" in walk.out
    assert "pr create --head mlx-publish/smollm2-360m --base main" in walk.log
    assert (walk.home / "actions-runner/.service").read_text().split() == ["install", "start"]
