"""Runs workflows of a copy of this project with act: no containers, no network but loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
# The client's and the installer's ways through a proxy that signs TLS anew; everything else stays outside.
_PASSED = ("SSL_CERT_FILE", "PIP_CERT", "MLX_PUBLISH_CACHE")
_LABELS = ("ubuntu-latest", "self-hosted", "macOS", "ARM64")
KIT = f"lab/kit@{'a' * 40}"
ORIGIN = "https://github.com/lab/models.git"
# act has no artifacts that today's clients can reach, and nobody who signs.
STANDS_IN = {
    "actions/attest@59d89421af93a897026c735860bf21b6eb4f7b26": "attest",
    "actions/upload-artifact@ea165f8d65b6e75b540449e92b4886f43607fa02": "upload-artifact",
    "actions/download-artifact@d3f86a106a0bac45b974a628896c90dbdf5c8093": "download-artifact",
}
GH = """\
#!/bin/sh
# Records what it is asked, as GitHub's own program would be.
printf '%s\\n' "$*" >> "$GH_LOG"
case "$1 $2" in
  "pr list") cat "$GH_OPEN" 2>/dev/null || echo '[]' ;;
  "pr create") cat > "$GH_BODY"; echo 'https://github.com/lab/models/pull/7' ;;
  "pr edit") cat > "$GH_BODY" ;;
  "pr view") cat "$GH_OPEN.view" 2>/dev/null || echo '{"url": "https://github.com/lab/models/pull/7", "state": "OPEN"}' ;;
  "release create") cat > "$GH_BODY"; echo 'https://github.com/lab/models/releases/1' ;;
  "issue list") cat "$GH_OPEN" 2>/dev/null || echo '[]' ;;
  "issue create") cat > "$GH_BODY"; echo 'https://github.com/lab/models/issues/8' ;;
  "issue edit") cat > "$GH_BODY" ;;
  "issue close") ;;
esac
"""


@dataclass(frozen=True)
class Run:
    """What act printed, as its JSON lines. Masked values stand in them in clear."""

    lines: tuple[dict[str, Any], ...]
    stderr: str = ""

    @property
    def jobs(self) -> dict[str, str]:
        """Result of each job, by its name without the workflow's; act itself has not failed."""
        assert '"level":"fatal"' not in self.stderr, self.stderr
        found = {line["job"]: line["jobResult"] for line in self.lines if "jobResult" in line}
        return {name.partition("/")[2].strip(): result for name, result in found.items()}

    @property
    def printed(self) -> list[str]:
        """Lines that programs printed, without the spaces around them; the runner looks for commands in these."""
        raw = "\n".join(str(line.get("msg", "")) for line in self.lines if line.get("raw_output"))
        return [line.strip() for line in raw.splitlines()]

    @property
    def annotations(self) -> list[str]:
        """Errors at a place, as the runner reads them."""
        found = (line.partition("::error ") for line in self.text.splitlines())
        return [command + rest for _, command, rest in found if command]

    @property
    def summary(self) -> str:
        """What the steps put into their summaries."""
        return "\n".join(str(line["content"]) for line in self.lines if line.get("command") == "summary")

    @property
    def text(self) -> str:
        """All messages."""
        return "\n".join(str(line.get("msg", "")) for line in self.lines)

    def outputs(self, step: str) -> dict[str, str]:
        """Outputs of a step, by its name."""
        return {
            line["name"]: line["arg"]
            for line in self.lines
            if line.get("command") == "set-output" and line.get("step") == step
        }


@dataclass(frozen=True)
class Checkout:
    """A repo with this project's files, committed, and with recipes of its own."""

    folder: Path
    recipes: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._fill()
        for name, text in self.recipes.items():
            recipe = self.folder / "recipes" / f"{name}.yaml"
            recipe.parent.mkdir(parents=True, exist_ok=True)
            recipe.write_text(text)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("all")
        self.git("remote", "add", "origin", ORIGIN)
        subprocess.run(["git", "init", "--quiet", "--bare", str(self.origin)], check=True)
        self.git("push", "--quiet", "origin", "main")
        self.install_gh()

    def install_gh(self) -> None:
        """Put a program called gh, which writes down what it is asked, where the jobs find it."""
        program = self.folder.parent / "bin" / "gh"
        program.parent.mkdir(exist_ok=True)
        program.write_text(GH)
        program.chmod(0o755)

    def _fill(self) -> None:
        copy_project(self.folder)
        shutil.rmtree(self.folder / "recipes")
        (self.folder / "recipes").mkdir()

    @property
    def actions(self) -> dict[str, Path]:
        """Folders that stand for actions of other repos."""
        return {action: ROOT / "tests/actions" / name for action, name in STANDS_IN.items()}

    @property
    def origin(self) -> Path:
        """What stands behind the address of `origin`."""
        return self.folder.parent / "origin.git"

    @property
    def _aside(self) -> dict[str, str]:
        """The recording gh, and git's way to the origin."""
        files = {key: str(self.folder.parent / key.lower()) for key in ("GH_LOG", "GH_OPEN", "GH_BODY")}
        return files | {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{self.origin}.insteadOf",
            "GIT_CONFIG_VALUE_0": ORIGIN,
            "TEST_ARTIFACTS": str(self.folder.parent / "artifacts"),
        }

    def clone(self, folder: Path, branch: str) -> Checkout:
        """Another clone of the same origin, with a branch checked out."""
        other = copy(self)
        object.__setattr__(other, "folder", folder)
        shutil.copytree(self.origin, other.origin)
        other.install_gh()
        shutil.copytree(self.folder, folder, symlinks=True)
        other.git("fetch", "--quiet", "origin")
        other.git("switch", "--quiet", "--force-create", branch, f"origin/{branch}")
        return other

    def commit(self, message: str) -> None:
        """Commit everything."""
        self.git("add", "--all")
        self.git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", f"--message={message}")

    def git(self, *arguments: str) -> str:
        """Run git in the checkout."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env={**os.environ, **self._aside},
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def run(
        self, event: str, payload: Mapping[str, Any], workflow: Path, env: Mapping[str, str], **secrets: str
    ) -> Run:
        """Run a workflow of the checkout on an event."""
        aside = self.folder.parent
        (aside / "event.json").write_text(json.dumps(payload))
        handed = {key: os.environ[key] for key in _PASSED if key in os.environ}
        handed = {
            "MLX_PUBLISH_CACHE": str(aside / "cache"),
            "MLX_PUBLISH_ENVIRONMENT": sys.prefix,
            # None, and none is brought: to prove the architecture anew in each job takes longer than all else.
            "MLX_PUBLISH_REFERENCE_PYTHON": "",
            **self._aside,
            **handed,
            **env,
        }
        command = [
            str(Path(sys.executable).parent / "act"),
            event,
            "-W",
            str(workflow),
            "-e",
            str(aside / "event.json"),
            *(word for label in _LABELS for word in ("-P", f"{label}=-self-hosted")),
            *(word for action, folder in self.actions.items() for word in ("--local-repository", f"{action}={folder}")),
            *(word for key, value in handed.items() for word in ("--env", f"{key}={value}")),
            *(word for key, value in self.variables.items() for word in ("--var", f"{key}={value}")),
            *(word for key, value in secrets.items() for word in ("-s", f"{key}={value}")),
            "--pull=false",
            "--rm",
            "--no-cache-server",
            "--action-cache-path",
            str(aside / "act"),
            "--json",
        ]
        (aside / "home").mkdir(exist_ok=True)
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={"PATH": f"{aside / 'bin'}:/usr/bin:/bin", "HOME": str(aside / "home")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        lines = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
        return Run(tuple(lines), done.stderr)


@dataclass(frozen=True)
class ModelsRepo(Checkout):
    """A repo of models beside the kit, as `mlx-publish init` wrote it for `KIT`."""

    kit: Path = Path()
    """A copy of the project, which stands for OWNER/mlx-publish at COMMIT."""

    def _fill(self) -> None:
        copy_project(self.kit)
        for workflow in (self.kit / ".github/workflows").glob("*.yml"):
            workflow.write_text(workflow.read_text().replace("uses: ./\n", f"uses: {KIT}\n"))

    @property
    def actions(self) -> dict[str, Path]:
        """And the kit."""
        return super().actions | {KIT: self.kit}


def read(path: Path) -> dict[str, Any]:
    """A workflow or the Action of this project. YAML 1.2, in which "on" is a word."""
    data: dict[str, Any] = YAML(typ="safe", pure=True).load(ROOT / path)
    return data


def copy_project(folder: Path) -> None:
    """Copy what git knows or would take up; links stay links."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists() or (ROOT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    for workflow in (folder / ".github/workflows").glob("*.yml"):
        # act does not know the runner's own word for the repo that a workflow comes from.
        workflow.write_text(workflow.read_text().replace("uses: $/\n", "uses: ./\n"))
