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
    from mlx_publish.converters import Converter


@dataclass(frozen=True)
class Loads:
    """What the checks have to know of a converter: its name, its version and the model types that it can load."""

    name: str
    version: str | None
    """None where it is not installed."""
    types: frozenset[str] = frozenset()
    limited: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Methods of quantization that work with some model types alone, and these."""
    senses: bool = False
    """Whether it keeps what is no text."""
    lacking: str = ""
    """Why it cannot be used here."""


def loads(converter: Converter) -> Loads:
    """Return what a converter can load."""
    support = converter.support()
    if support is None:
        return Loads(converter.distribution, None, senses=converter.senses, lacking=converter.lacking())
    return Loads(converter.distribution, support.version, support.types, support.limited, converter.senses)


@dataclass(frozen=True)
class SourceFacts:
    """A source and one variant, as `inspect` judges them."""

    recipe: Recipe
    variant: Variant
    identity: str | None
    """Commit, or digest of the folder; empty where no digest is taken, None while it is being taken."""
    source: Metadata
    """Files, configs and headers, each read when it is first asked for."""
    loads: Loads
    """The converter that is to load it, and what it can load."""
    twin: Callable[[], TwinFacts]
    """Compares a small random model of its config in transformers and mlx-lm; slow the first time."""
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
