"""A recipe ready to be followed: defaults filled in, paths absolute, where each key stood.

`recipes.read` makes one from a YAML file or from flags; `recipes.spec` says what is allowed in one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlx_publish.errors import Place
from mlx_publish.recipes.sections import (
    Acceptance,
    CalibrationText,
    CardWords,
    FidelityTest,
    SmokeTest,
    SpeedTest,
    Strict,
)
from mlx_publish.recipes.spec import DEFAULT_DESTINATION, MOST_VARIANTS, TEXT_DESTINATION, RecipeSpec, RepoId
from mlx_publish.recipes.variant import DTYPE_NAMES, Variant

__all__ = [
    "DEFAULT_DESTINATION",
    "DTYPE_NAMES",
    "MOST_VARIANTS",
    "TEXT_DESTINATION",
    "Acceptance",
    "CalibrationText",
    "CardWords",
    "Destination",
    "FidelityTest",
    "Recipe",
    "RecipeSpec",
    "RepoId",
    "SmokeTest",
    "SpeedTest",
    "Strict",
    "Variant",
]


@dataclass(frozen=True)
class Destination:
    """Where one variant goes: a repo on the Hub, or a folder."""

    repo: str | None = None
    folder: Path | None = None

    @property
    def name(self) -> str:
        """The last part: the name of the published model."""
        return self.repo.rpartition("/")[2] if self.repo else self.folder.name if self.folder else ""

    @property
    def reviewed_as(self) -> str:
        """Where its card lies below the folder of cards; `local` stands for the namespace of what goes to a folder."""
        return self.repo or f"local/{self.name}"

    def __str__(self) -> str:
        return self.repo or f"folder:{self.folder}"


@dataclass(frozen=True)
class Recipe:
    """A recipe ready to be followed: defaults filled in, paths absolute, where each key stood."""

    spec: RecipeSpec
    name: str
    source_folder: Path | None
    """The source where it is a folder; None if it is a repo."""
    destinations: Mapping[str, Destination]
    """By the variant's label."""
    place: str = ""
    """The file, or the flags, as it is named in messages."""
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)
    """Line of each key, by its path as in `variants[0].bits`; empty for flags."""
    plans: Mapping[str, Path] = field(default_factory=dict, compare=False)
    """By the variant's label, the plan file that it follows."""
    adapter_folder: Path | None = None
    """The adapter where it is a folder; None if it is a repo, or if there is none."""

    @property
    def variants(self) -> tuple[Variant, ...]:
        """All variants in the order of the recipe."""
        return tuple(self.spec.variants)

    @property
    def source_name(self) -> str:
        """The last part of the source: `SmolLM2-135M-Instruct`."""
        return self.source_folder.name if self.source_folder else self.spec.source.rpartition("/")[2]

    @property
    def model_name(self) -> str:
        """Name of what is converted: the adapter's where one is fused, else the source's."""
        if self.spec.adapter is None:
            return self.source_name
        return self.adapter_folder.name if self.adapter_folder else self.spec.adapter.rpartition("/")[2]

    @property
    def base_model(self) -> str | None:
        """What the card may name as base model: a repo id, or None for a folder nobody named."""
        return self.spec.base_model or (None if self.source_folder else self.spec.source)

    def place_of(self, key: str) -> Place:
        """Return file and line of a key, or just the file where the key was not written."""
        return Place(self.place, self.lines.get(key, 0))

    def key_of(self, variant: Variant, key: str) -> tuple[Place, str]:
        """Return the place of a variant's key, and what a message calls it; its flag where it is not in a file."""
        if not self.place:
            return Place(f"--{key.replace('_', '-')}"), ""
        index = next((n for n, own in enumerate(self.variants) if own.label == variant.label), 0)
        paths = [f"variants[{index}].{key}", f"variants[{index}]", "variants"]
        path = next((path for path in paths if path in self.lines), paths[0])
        return self.place_of(path), paths[0]

    def accepted(self, check: str) -> str | None:
        """Return the reason for which a failure of `check` is let through, or None."""
        return next((entry.reason for entry in self.spec.accept if entry.check == check), None)

    @property
    def asked_parts(self) -> dict[str, Any]:
        """Return what is asked of multi-token heads and of towers, for the inputs of reports."""
        parts = {"mtp": self.spec.mtp, "towers": self.spec.towers}
        return {key: part.model_dump(mode="json") for key, part in parts.items() if part}

    def digest_of(self, *keys: str) -> dict[str, Any]:
        """Return the keys of the recipe that a stage depends on, as plain data for its report."""
        data = self.spec.model_dump(mode="json")
        return {key: data[key] for key in keys}
