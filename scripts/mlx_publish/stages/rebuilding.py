"""Converted once more in an empty folder, so that nothing of what lies in a work folder has a say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlx_publish.context import Context
from mlx_publish.errors import Refused
from mlx_publish.evidence.quantization import PLAN_FILE
from mlx_publish.recipes.recipe import Variant
from mlx_publish.stages import STAGES
from mlx_publish.stages.runner import chain, run_stages
from mlx_publish.text.temporary import TemporaryFolder
from mlx_publish.work import Work

PLANNED = frozenset({"inspect", "convert"})
_ASIDE = ".again-"


def convert_again(context: Context, variants: Sequence[Variant]) -> Mapping[str, Mapping[str, str]]:
    """Convert variants of a run once more, at the same commit; return SHA-256 by path, by label.

    The folder lies in the work folder, and is gone afterwards. Raises what `convert` raises, and `Refused` if it
    refuses.
    """
    names = ", ".join(variant.label for variant in variants)
    context.console.say(f"converting {names} once more, in an empty folder, to compare every file")
    recipe = context.recipe
    if not recipe.source_folder:  # a branch may have moved since
        commit = str(context.report(variants[0], "inspect").inputs["source"])
        recipe = replace(recipe, spec=recipe.spec.model_copy(update={"revision": commit}))
    if recipe.spec.adapter and not recipe.adapter_folder:
        commit = str(context.report(variants[0], "inspect").inputs["adapter"])
        recipe = replace(recipe, spec=recipe.spec.model_copy(update={"adapter_revision": commit}))
    there = {variant.label: context.work.model(variant.label) / PLAN_FILE for variant in variants}
    plans = {**{label: path for label, path in there.items() if path.is_file()}, **context.plans}
    with TemporaryFolder(_ASIDE, context.work.folder) as folder:
        work = Work(folder, recipe.name)
        again = Context(recipe, tuple(variants), work, context.console, planned=PLANNED, plans=plans)
        return made(again, "rebuilt-equal")


def made(context: Context, check: str) -> dict[str, dict[str, str]]:
    """Run `convert` and what it needs; return SHA-256 by path, by label. `Refused` by `check` where it refuses."""
    if run_stages(context, chain(STAGES, "convert")):
        raise Refused("the source cannot be converted again", check=check, remedy="Read the checks above.")
    work = context.work
    return {v.label: {file.path: file.sha256 for file in work.digests(work.model(v.label))} for v in context.variants}
