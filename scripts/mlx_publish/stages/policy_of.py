"""The policy of the repo that one stands in, read once a run."""

from __future__ import annotations

from pathlib import Path

from mlx_publish.context import Context
from mlx_publish.recipes.policy import Policy, find_policy


def policy_of(context: Context) -> Policy | None:
    """Return the policy, None if there is none."""
    return context.once("policy", lambda: find_policy(Path.cwd()))
