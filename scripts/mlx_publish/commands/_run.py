"""What the commands do: recipe, work folder, stages, and what they leave for others to read."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlx_publish.checks.acceptances import judge_acceptances
from mlx_publish.children.engine import Children
from mlx_publish.commands._chosen import chosen_variants, given_twice, nothing_given
from mlx_publish.commands._ending import Ending, near
from mlx_publish.commands._table import print_table
from mlx_publish.context import Context
from mlx_publish.evidence.report import Report
from mlx_publish.evidence.stages import NAMES
from mlx_publish.github.outcome import write_outcome
from mlx_publish.github.runner import Runner
from mlx_publish.hub.rights import judge_token
from mlx_publish.recipes.policy import find_policy, judge
from mlx_publish.recipes.read import recipe_from_file, recipe_from_flags
from mlx_publish.recipes.recipe import Recipe, Variant
from mlx_publish.reviewed.cards import put_card, reviewed_plans
from mlx_publish.stages import STAGES
from mlx_publish.stages.rebuilding import convert_again
from mlx_publish.stages.runner import chain, run_stages
from mlx_publish.stages.stage import Stage
from mlx_publish.text.console import Console, Level
from mlx_publish.text.harmless import shown_json
from mlx_publish.work import Work


def run_command(
    options: argparse.Namespace, flags: Mapping[str, str], until: str | None, console: Console, children: Children
) -> int:
    """Run a stage, or all `until` one; return 1 where a variant was refused, else 0.

    `children` are processes of the engine that were started ahead; the caller ends them.
    """
    recipe = read_recipe(options.recipe, flags)
    judge_acceptances(recipe)
    variants = chosen_variants(recipe, options.variant)
    stages, forced = _stages(options, until)
    judge_token()
    policy = find_policy(Path.cwd())
    rebuilds = getattr(options, "rebuild", False) or (policy is not None and policy.spec.publish.rebuild)
    work = Work(options.work.resolve(), recipe.name)
    dry_run = getattr(options, "dry_run", False)
    cards: Path | None = getattr(options, "cards", None)
    context = Context(
        recipe,
        variants,
        work,
        console,
        forced if options.force else frozenset(),
        getattr(options, "tag", None),
        cards,
        frozenset(stage.name for stage in stages),
        anew=options.force or until is not None or options.command == NAMES[0],
        children=children,
        rebuild=convert_again if rebuilds else None,
        plans=reviewed_plans(recipe, variants, cards) if cards else {},
        dry_run=dry_run,
    )
    # The last receipt is not of a run that publishes nothing.
    names = [stage.name for stage in stages if not (dry_run and stage.traits.publishes)]
    with work.lock():
        work.remove_left()
        try:
            refused = run_stages(context, stages)
            _put_cards(context, options, [v for v in variants if v.label not in refused])
            if getattr(options, "open", False):
                from mlx_publish.commands._open_card import open_cards  # noqa: PLC0415  few ask for a page

                open_cards(work, [v.label for v in variants if v.label not in refused], console)
            if until is not None and console.level > Level.QUIET:
                print_table(console, variants, work, names)
            labels = [variant.label for variant in variants]
            Ending(options, labels, names, refused, work).show(console)
        finally:
            write_outcome(work, recipe, variants, names, Runner.from_env())
    if options.json:
        _print_reports(context, stages)
    return 1 if refused else 0


def _put_cards(context: Context, options: argparse.Namespace, variants: Sequence[Variant]) -> None:
    """Put the cards of what was not refused where people review them."""
    into: Path | None = getattr(options, "into", None)
    if into is None or "card" not in context.planned:
        return
    for variant in variants:
        context.console.say(f"{variant.label}: card for review in {near(put_card(context, variant, into.resolve()))}")


def read_recipe(file: Path | None, flags: Mapping[str, str]) -> Recipe:
    """Return the recipe of a file, or of flags alone, once the policy of the current folder's repo allows it.

    Of a file a flag may replace the destination.
    """
    others = sorted(set(flags) - {"to"})
    if file is None and "source" not in flags:
        raise nothing_given()
    if file is not None and others:
        raise given_twice(others[0], flags[others[0]])
    recipe = recipe_from_flags(flags) if file is None else recipe_from_file(file, to=flags.get("to"))
    if policy := find_policy(Path.cwd()):
        judge(recipe, policy, flags)
    return recipe


def _stages(options: argparse.Namespace, until: str | None) -> tuple[tuple[Stage, ...], frozenset[str]]:
    """Return the stages to run, and those that --force repeats."""
    if getattr(options, "cards", None):
        # What was measured stands in the reviewed evidence; only the bytes have to be there.
        return (*chain(STAGES, "convert"), STAGES[NAMES.index("upload")]), frozenset({"upload"})
    if until is not None:
        return STAGES[: NAMES.index(until) + 1], frozenset(NAMES)
    return chain(STAGES, options.command), frozenset({options.command})


def _print_reports(context: Context, stages: tuple[Stage, ...]) -> None:
    planned = context.once("planned", dict[str, Report])
    reports = {
        variant.label: {
            stage.name: report.to_json()
            for stage in stages
            if (report := _report(context, stage, variant, planned)) is not None
        }
        for variant in context.variants
    }
    print(shown_json(reports))


def _report(context: Context, stage: Stage, variant: Variant, planned: Mapping[str, Report]) -> Report | None:
    if context.dry_run and stage.traits.publishes:
        return planned.get(variant.label)
    return context.work.report(variant.label, stage.name)
