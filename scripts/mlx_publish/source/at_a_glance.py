"""A source judged by its metadata alone: what `inspect` checks without MLX, PyTorch or a work folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mlx_publish.checks.base import run_in_groups
from mlx_publish.checks.facts import Loads, SourceFacts, loads
from mlx_publish.checks.licence import Licence, licence_of
from mlx_publish.checks.source import GROUPS
from mlx_publish.checks.twin import TWIN, TwinFacts
from mlx_publish.converters import CONVERTERS, converter_for
from mlx_publish.errors import Refused
from mlx_publish.evidence.report import Finding
from mlx_publish.hub.repo import RepoFiles, exists
from mlx_publish.model.fused_files import FusedFiles
from mlx_publish.model.metadata import Metadata
from mlx_publish.model.senses import in_words, senses_in
from mlx_publish.recipes.recipe import Recipe, Variant

LICENCE = "licence"
"""The check that a recipe can satisfy by naming the licence."""


@dataclass(frozen=True)
class Glance:
    """A repo of the Hub at one commit."""

    repo: str
    commit: str
    adapter: RepoFiles | None = None
    """The adapter that is to be fused into it."""

    @cached_property
    def metadata(self) -> Metadata:
        """The source's small files and the headers of its weights."""
        base = RepoFiles(self.repo, self.commit)
        return Metadata(FusedFiles(base, self.adapter) if self.adapter else base)

    @property
    def parameters(self) -> int:
        """Parameters of the language model."""
        return sum(tensor.size for tensor in self.metadata.language_tensors)

    @property
    def files_bytes(self) -> int:
        """Bytes of all files, as the policy's `largest_source` counts them."""
        return sum(entry.size for entry in self.metadata.entries.values())

    def senses(self) -> str:
        """Return what the source takes beside text, in words; empty for a language model.

        Raises `Refused` if config or headers cannot be read.
        """
        keys = senses_in(self.metadata.config.raw) or [tower.name for tower in self.metadata.towers]
        return in_words(keys) if keys else ""

    def licence(self, recipe: Recipe) -> Licence:
        """Return the licence of the recipe, else that of the source's card."""
        return licence_of(recipe, self.metadata.licence_card)

    def judge(self, recipe: Recipe, variants: Sequence[Variant]) -> dict[str, tuple[Finding, ...]]:
        """Return the findings for each variant, by its label. Whether the architecture is proven is not among them."""
        taken = {str(place): exists(place.repo) for place in recipe.destinations.values() if place.repo}
        facts = SourceFacts(
            recipe=recipe,
            variant=variants[0],
            identity=self.commit,
            source=self.metadata,
            loads=self._loads(recipe),
            twin=lambda: TwinFacts(None, "inspect compares it"),
        )
        groups = [group for group in GROUPS if group is not TWIN]
        return {
            variant.label: run_in_groups(
                groups,
                replace(facts, variant=variant, taken=_of(taken, str(recipe.destinations[variant.label]))),
                recipe.accepted,
            )
            for variant in variants
        }

    def _loads(self, recipe: Recipe) -> Loads:
        try:
            chosen = converter_for(lambda: self.metadata.config.model_type, senses=self._keeps(recipe))
            return replace(loads(chosen), lacking="")  # a run installs it, elsewhere perhaps
        except Refused:  # its config cannot be read, which a check says
            return loads(CONVERTERS[0])

    def _keeps(self, recipe: Recipe) -> bool:
        """Return whether the recipe asks for more than text of a source that has more."""
        return recipe.spec.modality != "text" and bool(senses_in(self.metadata.config.raw))


def _of(taken: dict[str, bool], name: str) -> dict[str, bool]:
    return {name: taken[name]} if name in taken else {}
