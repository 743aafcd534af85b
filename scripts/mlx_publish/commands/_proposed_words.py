"""What a proposed recipe is, on the terminal and as JSON, and the commands that come next."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator

from mlx_publish.commands._proposing import Proposed
from mlx_publish.evidence.records import to_json
from mlx_publish.text import kit
from mlx_publish.text.console import Console

_UNPROVEN = "not checked yet: whether MLX computes what transformers computes; run checks it before any download"


def print_proposed(console: Console, proposed: Proposed) -> None:
    """Print what the source is, which variants suit it, and every finding that is not a pass."""
    console.heading("inspect", proposed.summary)
    console.say(f"commit {proposed.glance.commit}")
    for proposal in proposed.ladder.proposals:
        console.say(f"{proposal.variant}  {proposal.reason}")
    for reason in proposed.ladder.left_out:
        console.say(f"left out: {reason}")
    notable = [finding for finding in proposed.findings if finding.status in ("warn", "fail", "fixed")]
    for finding in notable:
        console.finding(finding)
    for finding in proposed.findings:
        if finding.status == "skip":  # as what mlx-lm can load, where it is not installed
            console.say(f"not checked: {finding.message}")
    passed = sum(finding.status == "pass" for finding in proposed.findings)
    console.say(f"{passed} checks passed, {len(notable)} to look at")
    console.say(_UNPROVEN)


def as_json(proposed: Proposed) -> dict[str, object]:
    """Return the same as plain data."""
    return {
        "file": proposed.recipe.place,
        "name": proposed.recipe.name,
        "source": proposed.recipe.spec.source,
        "commit": proposed.glance.commit,
        "model_type": proposed.glance.metadata.config.model_type,
        "parameters": proposed.glance.parameters,
        "files_bytes": proposed.glance.files_bytes,
        "licence": proposed.licence,
        "variants": [
            {"variant": proposal.spec.label, "weight_bytes": proposal.weights, "reason": proposal.reason}
            for proposal in proposed.ladder.proposals
        ],
        "left_out": list(proposed.ladder.left_out),
        "checks": [to_json(finding) for finding in proposed.findings],
    }


def next_commands(proposed: Proposed) -> Iterator[str]:
    """Yield what to run once a recipe is written."""
    recipe = proposed.recipe
    if importlib.util.find_spec("mlx_lm") is None:
        yield kit.install("mlx")
    yield f"mlx-publish run --recipe {recipe.place} --into cards"


def print_next(console: Console, commands: Iterable[str]) -> None:
    """Print commands to copy."""
    console.heading("next", "run these commands")
    for command in commands:
        console.say(command)
