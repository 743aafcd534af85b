"""Runs workflows of a copy of this project with act: no containers, no network but loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# The client's and the installer's ways through a proxy that signs TLS anew; everything else stays outside.
_PASSED = ("SSL_CERT_FILE", "PIP_CERT", "MLX_PUBLISH_CACHE")
_LABELS = ("ubuntu-latest", "self-hosted", "macOS", "ARM64")


@dataclass(frozen=True)
class Run:
    """What act printed, as its JSON lines. Masked values stand in them in clear."""

    lines: tuple[dict[str, Any], ...]

    @property
    def jobs(self) -> dict[str, str]:
        """Result of each job, by the name that it has in the log."""
        return {line["job"]: line["jobResult"] for line in self.lines if "jobResult" in line}

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

    def __post_init__(self) -> None:
        _copy_project(self.folder)
        shutil.rmtree(self.folder / "recipes")
        (self.folder / "recipes").mkdir()
        for name, text in self.recipes.items():
            (self.folder / "recipes" / f"{name}.yaml").write_text(text)
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("add", "--all")
        self.git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "--message=all")
        self.git("remote", "add", "origin", "https://github.com/lab/models.git")

    def git(self, *arguments: str) -> str:
        """Run git in the checkout."""
        done = subprocess.run(["git", *arguments], cwd=self.folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def run(
        self, event: str, payload: Mapping[str, Any], workflow: Path, env: Mapping[str, str], **secrets: str
    ) -> Run:
        """Run a workflow of the checkout on an event."""
        aside = self.folder.parent
        (aside / "event.json").write_text(json.dumps(payload))
        handed = {key: os.environ[key] for key in _PASSED if key in os.environ}
        handed = {"MLX_PUBLISH_CACHE": str(aside / "cache"), "MLX_PUBLISH_ENVIRONMENT": sys.prefix, **handed, **env}
        command = [
            str(Path(sys.executable).parent / "act"), event, "-W", str(workflow), "-e", str(aside / "event.json"),
            *(word for label in _LABELS for word in ("-P", f"{label}=-self-hosted")),
            *(word for key, value in handed.items() for word in ("--env", f"{key}={value}")),
            *(word for key, value in secrets.items() for word in ("-s", f"{key}={value}")),
            "--pull=false", "--rm", "--no-cache-server", "--action-cache-path", str(aside / "act"), "--json",
        ]  # fmt: skip
        (aside / "home").mkdir(exist_ok=True)
        done = subprocess.run(
            command, cwd=self.folder, env={"PATH": "/usr/bin:/bin", "HOME": str(aside / "home")},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        return Run(tuple(json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")))


def _copy_project(folder: Path) -> None:
    """Copy what git knows or would take up; links stay links."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists() or (ROOT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
