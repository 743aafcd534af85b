"""GitHub's own program, for one repo that is a folder: what a guide sets is what it answers afterwards.

    python fake_gh.py STATE_FOLDER WORDS...

The state is `state.json`; `origin.git` beside it is the repo. `run watch` does what the job `publish` of
.github/workflows/publish.yml does, with the secret that was set.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

CONFIG = """#!/bin/sh
printf '%s\\n' "$*" > .configured
"""
SERVICE = """#!/bin/sh
test -f .configured || exit 1
printf '%s\\n' "$1" >> .service
"""
PAGE = "per_page=100"


class Failed(Exception):
    """What gh says on standard error before it ends with 1."""


class GitHub:
    """The state of one repo."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.origin = folder / "origin.git"
        path = folder / "state.json"
        empty = {"repo": "", "pulls": [], "rulesets": [], "secrets": {}, "environments": {}, "policies": []}
        self.state: dict[str, Any] = json.loads(path.read_text()) if path.exists() else empty

    def save(self) -> None:
        (self.folder / "state.json").write_text(json.dumps(self.state, indent=1))

    def git(self, *words: str, cwd: Path | None = None) -> str:
        who = ("-c", "user.name=gh", "-c", "user.email=gh@example.org")
        done = subprocess.run(["git", *who, *words], cwd=cwd or self.origin, check=True, capture_output=True, text=True)
        return done.stdout

    def repo(self, words: Sequence[str]) -> str:
        """`repo create NAME --private --source . --push`, and `repo view`."""
        if words[0] == "view":
            return str(self.state["repo"])
        self.state["repo"] = words[1]
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", self.origin], check=True)
        address = f"https://github.com/{words[1]}.git"
        self.git("remote", "add", "origin", address, cwd=Path.cwd())
        self.git("push", "--quiet", "--set-upstream", "origin", "main", cwd=Path.cwd())
        return address

    def pull(self, words: Sequence[str]) -> str:
        """`pr list`, `pr view`, `pr create`, `pr edit` and `pr merge`."""
        address = f"https://github.com/{self.state['repo']}/pull/7"
        if words[0] == "create":
            self.state["pulls"] = [{"head": words[words.index("--head") + 1], "body": sys.stdin.read()}]
            return address
        if words[0] == "edit":
            self.state["pulls"][0]["body"] = sys.stdin.read()
            return address
        if words[0] == "merge":
            with tempfile.TemporaryDirectory() as folder:
                self.git("clone", "--quiet", str(self.origin), folder)
                self.git("merge", "--quiet", "--no-ff", "-m", "Merge", f"origin/{words[1]}", cwd=Path(folder))
                self.git("push", "--quiet", "origin", "main", cwd=Path(folder))
            self.state["pulls"] = []
            return ""
        open_ones = [{"number": 7, "url": address, "state": "OPEN"} for _ in self.state["pulls"]]
        return json.dumps(open_ones[0] if words[0] == "view" else open_ones)

    def release(self, words: Sequence[str]) -> str:
        """`release download`: a runner whose scripts only note that they ran."""
        with tarfile.open("actions-runner-osx-arm64-2.999.0.tar.gz", "w:gz") as archive:
            for name, text in (("config.sh", CONFIG), ("svc.sh", SERVICE)):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(text), 0o755
                archive.addfile(entry, io.BytesIO(text.encode()))
        self.state["runner"] = str(Path.cwd())
        return ""

    def secret(self, words: Sequence[str]) -> str:
        """`secret set NAME --env E`, its value from standard input."""
        self.state["secrets"][words[1]] = {"value": sys.stdin.read().strip(), "env": words[words.index("--env") + 1]}
        return ""

    def run(self, words: Sequence[str]) -> str:
        """`run list` and `run watch`, which publishes the newest tag as the job does."""
        if words[0] == "list":
            return "4711"
        tag = self.git("tag", "--sort=-creatordate").split()[0]
        recipe, _, version = tag.rpartition("/")
        with tempfile.TemporaryDirectory() as folder:
            self.git("clone", "--quiet", "--branch", tag, str(self.origin), folder)
            asked = ("--recipe", f"recipes/{recipe}.yaml", "--work", str(self.folder / "runner-work"))
            program = ["mlx-publish"]
            subprocess.run([*program, "convert", *asked, "--force"], cwd=folder, check=True)
            subprocess.run(
                [*program, "upload", *asked, "--cards", "cards", "--tag", version, "--rebuild"],
                cwd=folder,
                env=os.environ | {"HF_TOKEN": self.state["secrets"]["HF_TOKEN"]["value"]},
                check=True,
            )
        return ""

    def api(self, words: Sequence[str]) -> str:
        """`api [-X METHOD] PATH`, with fields or a body."""
        method = words[words.index("-X") + 1] if "-X" in words else "GET"
        [path] = [word for word in words if word.startswith(("repos/", "user"))]
        below = path.removeprefix(f"repos/{self.state['repo']}").lstrip("/")
        body = json.load(sys.stdin) if "--input" in words else _fields(words)
        if method == "GET":
            return self.get("user" if path == "user" else below, raw="-H" in words)
        return self.put(below, body)

    def put(self, below: str, body: Any) -> str:
        if below == "actions/runners/registration-token":
            return "ATOKEN"
        if below == "rulesets":
            self.state["rulesets"].append({"id": len(self.state["rulesets"]) + 1, **body})
        elif below.endswith("deployment-branch-policies"):
            self.state["policies"].append(body)
        elif below.startswith("environments/"):
            self.state["environments"][below.partition("/")[2]] = body
        else:
            assert below == "actions/permissions/workflow", below
            self.state["permissions"] = body
        return "{}"

    def get(self, below: str, *, raw: bool) -> str:
        if below == "user":
            return "7"
        if raw:
            return self.git("show", f"main:{below.removeprefix('contents/')}")
        found = self.answers().get(below.replace(f"&{PAGE}", "").replace(f"?{PAGE}", ""))
        if found is None:
            raise Failed("gh: Not Found (HTTP 404)")
        return json.dumps(found)

    def answers(self) -> dict[str, Any]:
        """What the endpoints below the repo answer, in GitHub's shapes."""
        rulesets = self.state["rulesets"]
        of_env = {"secrets": [{"name": name} for name, secret in self.state["secrets"].items() if secret["env"]]}
        found = {
            "": {"private": True, "default_branch": "main", "owner": {"type": "User"}},
            "actions/runners": {"runners": self.runners()},
            "actions/variables": {"variables": []},
            "actions/secrets": {"secrets": []},
            "actions/permissions/workflow": self.state.get("permissions", {}),
            "environments/huggingface/deployment-branch-policies": {"branch_policies": self.state["policies"]},
            "environments/huggingface/secrets": of_env,
            "rules/branches/main": [rule for one in rulesets if one["target"] == "branch" for rule in one["rules"]],
            "rulesets?targets=tag": [one for one in rulesets if one["target"] == "tag"],
        }
        found |= {f"rulesets/{one['id']}": one for one in rulesets}
        for name, body in self.state["environments"].items():
            reviewers = [{"type": one["type"], "reviewer": {"id": one["id"]}} for one in body["reviewers"]]
            found[f"environments/{name}"] = {
                "protection_rules": [{"type": "required_reviewers", "reviewers": reviewers}],
                "deployment_branch_policy": body["deployment_branch_policy"],
            }
        return found

    def runners(self) -> list[dict[str, Any]]:
        """The runner, once its scripts were run in their order."""
        folder = Path(self.state.get("runner", "/nonexistent"))
        if not (folder / ".service").exists() or (folder / ".service").read_text().split() != ["install", "start"]:
            return []
        assert "--token ATOKEN" in (folder / ".configured").read_text()
        labels = [{"name": label} for label in ("self-hosted", "macOS", "ARM64")]
        return [{"id": 1, "name": "mac", "status": "online", "labels": labels}]


def _fields(words: Sequence[str]) -> dict[str, Any]:
    pairs = (after.partition("=") for word, after in itertools.pairwise(words) if word in ("-f", "-F"))
    return {key: {"true": True, "false": False}.get(text, text) for key, _, text in pairs}


def main(folder: str, first: str, *words: str) -> int:
    """Answer one call."""
    github = GitHub(Path(folder))
    with (github.folder / "log").open("a") as log:
        log.write(" ".join((first, *words)) + "\n")
    commands: dict[str, Callable[[Sequence[str]], str]] = {
        "repo": github.repo,
        "pr": github.pull,
        "release": github.release,
        "secret": github.secret,
        "run": github.run,
        "api": github.api,
        "auth": lambda _: "",
    }
    try:
        said = commands[first](words)
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    github.save()
    if said:
        print(said)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
