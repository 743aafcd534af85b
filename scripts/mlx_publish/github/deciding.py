"""Which key of a recipe decides a check, so that an annotation stands at the line that somebody would change."""

from __future__ import annotations

from collections.abc import Mapping

from mlx_publish.errors import Place
from mlx_publish.evidence.report import Finding
from mlx_publish.recipes.recipe import Recipe

VARIANT = "variants"
SOURCE = "source"
DECIDED_BY: Mapping[str, tuple[str, ...]] = {
    "revision": ("revision",),
    "license": ("licence", "legal-texts", "licence-allowed"),
    "modality": ("modality", "modality-weights"),
    "to": ("not-taken", "modality-name", "hub-limits", "destination-ours", "tag-free"),
    VARIANT: (
        "groups-fit",
        "unquantized",
        "weights-numbers",
        "converts",
        "bits-per-weight",
        "quantization-told",
        "precision",
        "compared-with",
        "finite",
        "room",
    ),
    "fidelity.max_mean_kld": ("mean-kld",),
    "fidelity.min_same_first_choice": ("same-first-choice",),
    "fidelity.max_perplexity_ratio": ("perplexity",),
    "fidelity": ("architecture-proven",),
    "smoke": ("answers", "stops", "leaks", "long-prompt"),
    "benchmark": ("steady", "machine-at-rest", "device", "enough"),
}
"""Checks by the key of the recipe that decides them; the source decides all others."""
_KEYS = {check: key for key, checks in DECIDED_BY.items() for check in checks}


def place_of(recipe: Recipe, label: str, finding: Finding) -> Place:
    """Return file and line of the key that decides a finding of a variant.

    A limit that is not written, or that was kept, leaves it to the variant's own line, and that to the list of
    variants; any other key that is not written leaves it to the source.
    """
    key = _KEYS.get(finding.id, SOURCE)
    labels = [variant.label for variant in recipe.variants]
    of_variant = [f"{VARIANT}[{labels.index(label)}]"] if label in labels else []
    if key.startswith("fidelity."):
        keys = [*([key] if finding.status == "fail" else []), *of_variant, VARIANT]
    else:
        keys = [*of_variant, VARIANT] if key == VARIANT else [key]
    return recipe.place_of(next((written for written in keys if written in recipe.lines), SOURCE))
