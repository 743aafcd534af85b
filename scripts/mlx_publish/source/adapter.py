"""The adapter of a recipe: what `inspect` reports of it, and what only the MLX class of the base can say."""

from __future__ import annotations

from mlx_publish.checks.adapter import adapter_licence
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.children.jobs import Job, run_job
from mlx_publish.context import Context
from mlx_publish.evidence.records import to_json
from mlx_publish.evidence.results import AdapterName
from mlx_publish.hub.repo import RepoFiles
from mlx_publish.model.fused_files import FusedFiles
from mlx_publish.model.normalise import normalise_config
from mlx_publish.model.packed import without_block
from mlx_publish.recipes.policy import Policy, judge_adapter_licence
from mlx_publish.source.resolve import converter, metadata_of, source_of


def adapter_name(facts: SourceFacts) -> AdapterName | None:
    """Return what a report says of the adapter; None without one."""
    files, fusing = facts.source.files, facts.source.fusing
    if not isinstance(files, FusedFiles) or fusing is None:
        return None
    repo = files.adapter if isinstance(files.adapter, RepoFiles) else None
    return AdapterName(
        name=facts.recipe.model_name,
        repo=repo.repo if repo else None,
        identity=files.identity,
        kind=fusing.kind,
        maker=fusing.maker,
        rank=fusing.ranks[-1] if fusing.ranks else None,
        tensors=fusing.placed,
        licence=adapter_licence(files),
    )


def class_fault(context: Context) -> str:
    """Say why an adapter of mlx-lm does not fit the MLX class of its base; empty if it does, or nobody can say."""
    fusing = metadata_of(context).fusing
    if fusing is None or fusing.maker != "mlx-lm" or converter(context).support() is None:
        return ""
    return context.once("adapter's class", lambda: _class_fault(context))


def _class_fault(context: Context) -> str:
    config, _ = normalise_config(without_block(metadata_of(context).config.raw))
    arguments = {"config": config, "fusing": to_json(metadata_of(context).fusing)}
    log = context.work.source / "adapter.log"
    answer = run_job(Job("adapter", arguments, log, children=context.children), context.console.progress)
    return str(answer["fault"])


def judge_adapter(context: Context, policy: Policy, facts: SourceFacts) -> None:
    """Raise `BadInput` if the policy forbids the licence of the base or of the adapter, whichever is stated."""
    files = source_of(context).files
    if isinstance(files, FusedFiles):
        named = {"adapter": adapter_licence(files), "base": facts.source.card.text("license")}
        judge_adapter_licence(facts.recipe, policy, {whose: own.lower() for whose, own in named.items() if own})
