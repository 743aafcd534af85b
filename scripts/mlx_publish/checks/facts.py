"""What `inspect` judges: a source, one variant of it, and facts about this machine and the Hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlx_publish.model.metadata import Metadata
from mlx_publish.model.senses import senses_in
from mlx_publish.recipes.recipe import Recipe, Variant

if TYPE_CHECKING:
    from mlx_publish.checks.calibration import CalibrationFacts
    from mlx_publish.checks.twin import TwinFacts


@dataclass(frozen=True)
class SourceFacts:
    """A source and one variant, as `inspect` judges them."""

    recipe: Recipe
    variant: Variant
    identity: str | None
    """Commit, or digest of the folder; empty where no digest is taken, None while it is being taken."""
    source: Metadata
    """Files, configs and headers, each read when it is first asked for."""
    mlx_lm: tuple[str, frozenset[str]] | None
    """Version of the installed mlx-lm and the model types that it can load."""
    twin: Callable[[], TwinFacts]
    """Compares a small random model of its config in transformers and mlx-lm; slow the first time."""
    limited: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Methods of quantization that work with some model types alone, and these."""
    taken: Mapping[str, bool] = field(default_factory=dict)
    """For the destination and known community names: whether the repo exists already."""
    calibration: CalibrationFacts | None = None
    """Of the variant's calibration text, where that is a file of the user's."""

    adapter: Callable[[], str] = str
    """Says why an adapter of mlx-lm does not fit the MLX class of the source; empty if it does, or is none of those."""

    @property
    def text_alone(self) -> bool:
        """Whether the recipe asks for the text part of a source that has more."""
        asked = self.recipe.spec.modality == "text"
        return asked and bool(senses_in(self.source.config.raw) or self.source.towers)
