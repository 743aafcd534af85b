"""Repeat the conversion that evidence describes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlx_publish.checks.remade import NOT_OURS
from mlx_publish.context import Context
from mlx_publish.converters import converter_of
from mlx_publish.errors import BadInput, Refused
from mlx_publish.evidence.evidence import Evidence, VariantSpec
from mlx_publish.evidence.planned import is_portable
from mlx_publish.evidence.weight_differences import Closeness, WeightDifferences
from mlx_publish.model.names import shown
from mlx_publish.recipes.read import recipe_from_data
from mlx_publish.recipes.recipe import Recipe
from mlx_publish.reviewed.known import of_source
from mlx_publish.source.calibration import PACKAGE
from mlx_publish.source.resolve import convert_by, source_of
from mlx_publish.stages.rebuilding import PLANNED, made
from mlx_publish.text.console import Console
from mlx_publish.verify.learned import closeness
from mlx_publish.verify.plan import published_plan
from mlx_publish.verify.published import EVIDENCE, Published
from mlx_publish.verify.weights import differing_weights
from mlx_publish.work import Work

_LEAST, _MOST = 32, 65536  # tokens, as a recipe has them


@dataclass(frozen=True)
class Given:
    """What nobody publishes, by its path; empty where it is not needed."""

    source: str = ""
    """The folder of a source that is no repo."""
    calibration: str = ""
    """The text that a method learned from, where it is not the package's."""
    adapter: str = ""
    """The folder of an adapter that is no repo."""


NOTHING = Given()


@dataclass(frozen=True)
class Rebuilt:
    """The files of another conversion of the same source, by digest."""

    sha256: Mapping[str, str]
    differences: tuple[str, ...]
    """Where the evidence differs from what its source gives."""
    weights: WeightDifferences | None = None
    """How published weights differ; None if no file does."""
    closeness: Closeness | str = ""
    """Of a method that gives other bytes on other machines: how far both are from the source, or why nobody knows."""


def rebuild(published: Published, given: Given, root: Path, console: Console) -> Rebuilt:
    """Convert the source of a published model's evidence at its commit again, in the work folder `root`.

    Of a planned variant the published plan is followed. Weights that differ are compared tensor by tensor; those of a
    method that learns also by their distance from the source.
    Raises what `convert` raises, `BadInput` if no source is known or the folder is another one, and `Refused` if it
    cannot be converted any more.
    """
    evidence = published.evidence
    plan = published_plan(published, root)
    recipe = recipe_of(evidence, given, plan)
    [variant], work = recipe.variants, Work(root, recipe.name)
    label, learned = variant.label, not variant.quantizer.portable
    # While the source is in memory, it reads the text that learned weights are compared on.
    planned = PLANNED | {"fidelity"} if learned else PLANNED
    context = Context(recipe, recipe.variants, work, console, planned=planned, plans={label: plan} if plan else {})
    convert_by(context, converter_of(evidence.tools))
    with work.lock():
        _same_source(context, evidence)
        digests = made(context, "made-again")[label]
        weights = differing_weights(context, published, digests)
        differences = tuple(map(str, of_source(context, variant, evidence)))
        close = closeness(context, published) if learned and weights and weights.same_layout else ""
        return Rebuilt(digests, differences, weights, close)


def _same_source(context: Context, evidence: Evidence) -> None:
    if evidence.adapter and (identity := source_of(context).adapter) != evidence.adapter.identity:
        raise BadInput(
            f"the adapter has the digest {str(identity)[:12]}, but {EVIDENCE} names {evidence.adapter.identity[:12]}",
            place="--adapter",
            remedy="Use the adapter that was fused, unchanged.",
        )
    identity, named = source_of(context).identity, evidence.source.identity
    if identity and identity != named:  # one that is not even digested is refused by inspect, which says why
        raise BadInput(
            f"the source folder has the digest {identity[:12]}, but {EVIDENCE} names {named[:12]}",
            place="--source",
            remedy="Use the folder that the model was converted from, unchanged.",
        )


def recipe_of(evidence: Evidence, given: Given = NOTHING, plan: Path | None = None) -> Recipe:
    """Return the recipe of evidence, with its one variant. `BadInput` if a source or a text is needed that nobody gave.

    `plan` is the published one, in the place of the file that the publisher's recipe pins.
    """
    origin, licence = evidence.source, evidence.licence
    if not (origin.repo or given.source):
        raise BadInput(
            f"{EVIDENCE} names the folder {origin.name} as the source, but not its path",
            place="--source",
            remedy="Pass that folder: --source DIR.",
        )
    names = {"license": licence.id, "license_name": licence.name, "license_link": licence.link}
    return recipe_from_data(
        {
            "name": evidence.recipe,
            "source": origin.repo or str(Path(given.source).resolve()),
            "variants": [_variant(evidence.variant, plan)],
            "accept": [{"check": check.id, "reason": check.accepted} for check in evidence.checks if check.accepted],
            **({"modality": origin.modality} if origin.modality else {}),
            **_heads(evidence),
            **_towers(evidence),
            **({"revision": origin.identity} if origin.repo else {}),
            **_adapter(evidence, given.adapter),
            **_texts(evidence, given.calibration),
            **{key: value for key, value in names.items() if value},
        }
    )


def _heads(evidence: Evidence) -> Mapping[str, object]:
    """Return how multi-token heads were kept; nothing where they were left out."""
    kept = {"bits": evidence.drafter.bits, "group_size": evidence.drafter.group_size} if evidence.drafter else None
    return {} if kept is None else {"mtp": {key: value for key, value in kept.items() if value} or "keep"}


def _towers(evidence: Evidence) -> Mapping[str, object]:
    """Return how towers were quantized; nothing where all of them have the source's numbers."""
    kept = evidence.model.towers_quantized
    return {} if kept is None else {"towers": {"bits": kept[0], "group_size": kept[1]}}


def _adapter(evidence: Evidence, folder: str) -> Mapping[str, str]:
    """Return the keys of a fused adapter. `BadInput` if it was a folder, which nobody gave."""
    if (adapter := evidence.adapter) is None:
        return {}
    if adapter.repo:
        return {"adapter": adapter.repo, "adapter_revision": adapter.identity}
    if not folder:
        raise BadInput(
            f"{EVIDENCE} names the folder {adapter.name} as the adapter, but not its path",
            place="--adapter",
            remedy="Pass that folder: --adapter DIR.",
        )
    return {"adapter": str(Path(folder).resolve())}


def _texts(evidence: Evidence, file: str) -> Mapping[str, Mapping[str, object]]:
    """Return the texts of weights that are learned again and compared by fidelity; nothing for all others."""
    if is_portable(evidence):
        return {}
    texts: dict[str, dict[str, object]] = {}
    if evidence.fidelity:
        tokens = evidence.fidelity.positions + (evidence.fidelity.passages or 0)  # the first of each predicts no other
        texts["fidelity"] = {"tokens": min(max(tokens, _LEAST), _MOST)}
    if calibration := evidence.quantization.calibration if evidence.quantization else None:
        if calibration.text != PACKAGE and not file:
            raise BadInput(
                f"{EVIDENCE} names {shown(calibration.text)} as the calibration text, which is not published",
                place="--calibration",
                remedy="Pass that file: --calibration FILE.",
            )
        texts["calibration"] = {key: getattr(calibration, key) for key in ("samples", "length", "seed")}
        if calibration.text != PACKAGE:
            texts["calibration"] |= {"file": str(Path(file).resolve())}
    return texts


def _variant(variant: VariantSpec, plan: Path | None) -> dict[str, object]:
    """Return the keys as a recipe has them: a mixed recipe chooses the bits, and so does a plan, without a mode."""
    if "plan" in variant.options and plan is None:  # it would be a file of this machine
        raise Refused(f"{EVIDENCE} names a plan, but none is published", check="made-again", remedy=NOT_OURS)
    keys: dict[str, object] = {
        **variant.options,
        **({"plan": str(plan)} if plan and "plan" in variant.options else {}),
        "name": variant.label,
        "bits": variant.bits,
        "group_size": variant.group_size,
        "mode": None if variant.mixed or variant.options else variant.mode,
        "mixed": variant.mixed,
        "dtype": variant.dtype,
    }
    return {key: value for key, value in keys.items() if value is not None}
