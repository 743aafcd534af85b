"""The card as a pure function of recipe and evidence."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from mlx_publish import numbers
from mlx_publish.card import words
from mlx_publish.card.chart import Rung, ladder_chart
from mlx_publish.card.environment import environment
from mlx_publish.card.front_matter import front_matter, front_matter_text
from mlx_publish.card.snippet import snippet
from mlx_publish.recipe import Recipe, Variant
from mlx_publish.template.described import described

STATUSES = ("fixed", "warn")


def load_as(recipe: Recipe, variant: Variant) -> str:
    """What a user gives to `mlx_lm.load`."""
    destination = recipe.destinations[variant.label]
    return destination.repo or destination.name


def render(recipe: Recipe, variant: Variant, evidence: Mapping[str, Any]) -> str:
    """Render the card of a variant; whoever has recipe and evidence gets the same bytes."""
    name = recipe.destinations[variant.label].name
    return render_card(name, load_as(recipe, variant), recipe.spec.card.notes, evidence)


def render_card(name: str, load_as: str, notes: str, evidence: Mapping[str, Any]) -> str:
    """Render README.md of the variant that `evidence` describes.

    `name` is the title, `load_as` what `mlx_lm.load` is given, `notes` a person's Markdown from the recipe.
    """
    templates = environment()
    templates.filters.update(
        how_close=words.how_close, against=words.against, spread=_spread,
        size=numbers.size, memory=numbers.memory, count=numbers.count, percent=numbers.percent, sig=numbers.significant,
    )  # fmt: skip
    told = [check for check in evidence["checks"] if check["status"] in STATUSES]
    body = templates.get_template("card/README.md.j2").render(
        name=name, load_as=load_as, notes=notes.strip(), e=evidence, told=told,
        snippet=snippet(load_as, evidence["smoke"]), again=_again(evidence), described=_described(evidence["smoke"]),
    )  # fmt: skip
    return front_matter_text(front_matter(evidence)) + "\n" + body.strip() + "\n"


def render_chart(evidence: Mapping[str, Any]) -> str | None:
    """Render ladder.svg of the variant that `evidence` describes; None where it has no siblings to be compared with."""
    ladder = evidence["ladder"]
    here = evidence["variant"]["label"]
    keys = ("label", "weight_bytes", "mean_kld", "mean_kld_error", "generation_tps", "device")
    rungs = [Rung(**{key: one[key] for key in keys}, here=one["label"] == here) for one in ladder]
    return ladder_chart(rungs, evidence["source"]["name"]) if len(rungs) > 1 else None


def _spread(rate: Mapping[str, float]) -> str:
    """Median with lowest and highest."""
    median, lowest, highest = (numbers.significant(rate[key]) for key in ("median", "lowest", "highest"))
    return f"{median} ({lowest} to {highest})"


def _described(smoke: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    return list(described(smoke["capabilities"])) if smoke and smoke["capabilities"] else []


def _again(evidence: Mapping[str, Any]) -> str:
    """Return the command that makes the same weights again."""
    source, variant = evidence["source"], evidence["variant"]
    words = ["mlx-publish convert --source", source["repo"] or shlex.quote(f"./{source['name']}")]
    if source["repo"]:
        words += ["--revision", source["identity"]]
    if variant["mixed"]:
        words += ["--mixed", variant["mixed"]]
    elif variant["quantized"] and variant["mode"] == "affine":
        words += ["--bits", str(variant["bits"])]
    elif variant["quantized"]:
        words += ["--mode", variant["mode"]]
    if variant["quantized"] and variant["mode"] == "affine":
        words += ["--group-size", str(variant["group_size"])]
    if variant["dtype"]:
        words += ["--dtype", variant["dtype"]]
    return " ".join(words)
