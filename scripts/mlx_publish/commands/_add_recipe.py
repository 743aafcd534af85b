"""One more recipe in a repo of models."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from mlx_publish.commands._arguments import print_json
from mlx_publish.commands._init import judge_namespace, own_namespace
from mlx_publish.commands._placing import placing
from mlx_publish.commands._proposed_words import as_json, next_commands, print_next, print_proposed
from mlx_publish.commands._proposing import Wish, propose
from mlx_publish.errors import BadInput
from mlx_publish.github.running_kit import running_kit
from mlx_publish.recipes.policy import Policy, find_policy
from mlx_publish.source.proposal import DEFAULT_MEMORY, memory_of
from mlx_publish.text.console import Console


def add_recipe_for(options: argparse.Namespace, flags: Mapping[str, str], console: Console) -> int:
    """Write a recipe for the model that the command names; return 0."""
    for key in ("recipe", "source"):
        if getattr(options, key):
            raise BadInput("REPO names the model already", place=f"--{key}", remedy=f"Leave --{key} out.")
    policy = find_policy(Path.cwd())
    namespace = "" if "to" in flags else _namespace(options.namespace, policy)
    wish = Wish(options.model, memory_of(options.memory or DEFAULT_MEMORY), namespace, flags)
    console.progress(f"inspecting {options.model}")
    proposed = propose(wish, running_kit(), policy, options.recipes)
    folder, name = options.recipes, f"{proposed.recipe.name}.yaml"
    remedy = f"Edit that file, or give this recipe another name: --name {proposed.recipe.name}-2"
    with placing(folder, {name: proposed.text}, remedy) as placed:
        pass
    print_proposed(console, proposed)
    console.say(f"{'wrote' if placed.written else 'unchanged'} {folder / name}")
    print_next(console, next_commands(proposed))
    written = [path.as_posix() for path in placed.written]
    print_json(options, {"written": written, "recipe": as_json(proposed)})
    return 0


def _namespace(given: str | None, policy: Policy | None) -> str:
    """Return where to publish: as asked, else the policy's only namespace, else the token's account."""
    if given:
        judge_namespace(given)
        return given
    allowed = (policy.spec.namespaces if policy else None) or []
    if len(allowed) == 1:
        return allowed[0]
    if own := own_namespace():
        return own
    raise BadInput(
        "is missing: neither the policy nor a token names one namespace",
        place="--namespace",
        remedy="Run the same command again with --namespace.",
    )
