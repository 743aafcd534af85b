"""A new repo of models: every file that it needs, written once."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from mlx_publish.commands._arguments import print_json
from mlx_publish.commands._asking import Asker, Question, is_interactive
from mlx_publish.commands._placing import Placed, placing
from mlx_publish.commands._proposed_words import as_json, next_commands, print_next, print_proposed
from mlx_publish.commands._proposing import Proposed, Wish, propose
from mlx_publish.commands._repo_templates import WORKFLOWS, render, workflow
from mlx_publish.errors import BadInput, PublishError, Refused
from mlx_publish.github.programs import WHO, git, git_outcome
from mlx_publish.github.running_kit import RunningKit, running_kit
from mlx_publish.hub.client import given_token, hub_api, hub_errors
from mlx_publish.hub.identity import Account
from mlx_publish.recipes.address import NotAModel, read_address
from mlx_publish.recipes.patterns import NAME
from mlx_publish.recipes.policy import FILE
from mlx_publish.source.proposal import DEFAULT_MEMORY, memory_of
from mlx_publish.text.console import Console

_LICENCES = ("apache-2.0", "mit")
_LARGEST_GB = 50
_LATER = "Move them away, or run mlx-publish init in another folder. To add only a recipe, run: mlx-publish recipe REPO"


def init(options: argparse.Namespace, console: Console) -> int:
    """Write the repo and print what to do next; return 0."""
    _judge_folder(options)
    there = is_interactive(console) and not (options.yes or options.json)
    # Whoever names the model by a flag has pasted a command, and the next line would be taken for an answer.
    asker = Asker(console, there, asks_all=options.model is None)
    none = "" if asker.asks or options.yes else None
    model = asker.answer(Question("Model (namespace/name or address; empty for none)", "--model", none), options.model)
    namespace = asker.answer(
        Question("Namespace on the Hub", "--namespace", _own_namespace(options.namespace), judge_namespace),
        options.namespace,
    )
    memory = asker.answer(
        Question("Memory of the smallest Mac to support", "--memory", DEFAULT_MEMORY, memory_of), options.memory
    )
    kit = running_kit()
    proposed = None
    if model:
        given = {key: getattr(options, key) for key in ("name", "revision", "license") if getattr(options, key)}
        console.progress(f"inspecting {model}")
        try:
            proposed = propose(Wish(model, memory_of(memory), namespace, given), kit, None)
        except Refused:
            console.say(f"{model} is refused, so nothing is written; name another model, or none")
            raise
    root = Path(os.path.realpath(options.dir))  # it takes a link that leads to itself, too
    with placing(root, _files(namespace, kit, proposed), _LATER) as placed:
        has_git = (root / ".git").exists()  # one above would not find the workflows
        if options.git and not has_git:
            _start_git(root, placed)
            has_git = True
    _print(console, root, placed, kit, proposed)
    print_next(console, _next_commands(options.dir, proposed, has_git=has_git))
    print_json(options, _as_json(root, placed, kit, proposed))
    return 0


def _judge_folder(options: argparse.Namespace) -> None:
    """Raise `BadInput` where the folder is the address of a model."""
    given = str(options.dir).replace(":/", "://", 1)  # a path has one slash where the address had two
    try:
        address = None if options.dir.is_dir() else read_address(given)
    except (NotAModel, OSError):
        return
    if address is not None:
        raise BadInput(
            f"{address.repo} is a model, and this argument is the folder of the repo; did you mean --model?",
            place="DIR",
            remedy=f"Run: mlx-publish init --model {address.repo}",
        )


def _start_git(root: Path, placed: Placed) -> None:
    """Make a git repo whose first commit has the files; where it fails, no repo stays."""
    try:
        git(root, "init", "--quiet", "--initial-branch=main")
        paths = (path.relative_to(root).as_posix() for path in (*placed.written, *placed.unchanged))
        git(root, "add", "--", *paths)
        # Of a user who told git no name yet, the commit has the one that review uses.
        known = git_outcome(root, "config", "user.email").code == 0
        git(root, *(() if known else WHO), "commit", "--quiet", "--message", "A repo of models, by mlx-publish init")
    except BaseException:
        shutil.rmtree(root / ".git", ignore_errors=True)
        raise


def judge_namespace(text: str) -> None:
    """Raise `BadInput` for what is not a namespace of the Hub."""
    if not re.fullmatch(NAME, text) or len(text) > 96:
        raise BadInput(
            f"'{text[:60]}' is not a namespace of the Hub",
            place="--namespace",
            remedy="Write your user name or an organization's, as in the Hub's addresses.",
        )


def own_namespace() -> str | None:
    """Return the account of HF_TOKEN; None without a token, and where the Hub does not say."""
    if given_token() is None:
        return None
    try:
        with hub_errors("HF_TOKEN"):
            return Account(hub_api().whoami()).names[0]
    except PublishError:
        return None


def _own_namespace(given: str | None) -> str | None:
    return None if given else own_namespace()


def _files(namespace: str, kit: RunningKit, proposed: Proposed | None) -> dict[str, str]:
    """Return the text of every file by its path."""
    licence = proposed.licence if proposed else None
    largest = _LARGEST_GB
    if proposed:
        largest = max(largest, math.ceil(proposed.glance.files_bytes / 1e10) * 10)
    policy = render(
        FILE,
        kit,
        namespaces=json.dumps([namespace]),
        licenses=json.dumps(list(dict.fromkeys((*filter(None, [licence]), *_LICENCES)))),
        largest_source=f"{largest} GB",
    )
    name = proposed.recipe.name if proposed else ""
    files = {FILE: policy}
    files |= {f".github/workflows/{flow}.yml": workflow(flow, kit) for flow in WORKFLOWS}
    files[".pre-commit-config.yaml"] = render("pre-commit-config.yaml", kit)
    files[".gitignore"] = render("gitignore", kit)
    files["README.md"] = render("README.md", kit, recipe=name, source=proposed.recipe.spec.source if proposed else "")
    return files | ({f"recipes/{name}.yaml": proposed.text} if proposed else {})


def _as_json(root: Path, placed: Placed, kit: RunningKit, proposed: Proposed | None) -> dict[str, object]:
    return {
        "folder": str(root),
        "written": [path.relative_to(root).as_posix() for path in placed.written],
        "unchanged": [path.relative_to(root).as_posix() for path in placed.unchanged],
        "kit": {"repo": kit.repo, "ref": kit.ref, "known_from": kit.known_from, "warning": kit.warning},
        "recipe": as_json(proposed) if proposed else None,
    }


def _print(console: Console, root: Path, placed: Placed, kit: RunningKit, proposed: Proposed | None) -> None:
    if proposed:
        print_proposed(console, proposed)
    console.heading("init", str(root))
    for path in placed.written:
        console.say(f"wrote {path.relative_to(root).as_posix()}")
    for path in placed.unchanged:
        console.say(f"unchanged {path.relative_to(root).as_posix()}")
    console.say(f"workflows and hooks use {kit.repo}@{kit.ref} (from {kit.known_from})")
    if kit.warning:
        console.say(f"warning: {kit.warning}")


def _next_commands(folder: Path, proposed: Proposed | None, *, has_git: bool) -> Iterator[str]:
    """Yield what to run next, in order."""
    if folder != Path():
        yield f"cd {shlex.quote(str(folder))}"
    if not has_git:
        yield "git init --initial-branch=main"
    if proposed:
        yield from next_commands(proposed)
    else:
        yield "mlx-publish recipe REPO"
