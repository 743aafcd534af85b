"""The source's logits on the test text: computed once, kept beside the source's other facts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from mlx_publish.context import Context
from mlx_publish.evidence.measured import SourceRead
from mlx_publish.machine.packages import versions
from mlx_publish.source.kept import Kept
from mlx_publish.source.resolve import converter, source_of

_TEXTS = files("mlx_publish").joinpath("data/fidelity")


def texts() -> dict[str, Any]:
    """Return the texts of the comparison by kind; `dialogue` is a list of dialogues."""
    passages = {kind: _TEXTS.joinpath(f"{kind}.txt").read_text("utf-8") for kind in ("prose", "code", "scripts")}
    return {**passages, "dialogue": json.loads(_TEXTS.joinpath("dialogue.json").read_text(encoding="utf-8"))}


@dataclass(frozen=True)
class SourceLogits:
    """Where they lie, and whether they are those of this source, this text and these tools.

    There is one store a recipe, of a bounded size; a new one takes the place of the old.
    """

    context: Context
    model: str = "source"
    """`source`, or the digest of the variant that stands for a source too large for this machine."""

    @property
    def store(self) -> Path:
        """The folder that `engine/logits_store` describes."""
        return self.context.work.source / "reference"

    def order(self) -> dict[str, object]:
        """Return the arguments of the engine."""
        return {**self.asked(), "store": str(self.store)}

    def asked(self) -> dict[str, object]:
        """Return the texts, and how many tokens of them."""
        return {"texts": texts(), "tokens": self.context.recipe.spec.fidelity.tokens}

    def known(self) -> SourceRead | None:
        """Return what is known of the stored ones, or None if they have to be computed."""
        return self._kept().known()

    def keep(self, result: SourceRead) -> None:
        """Note what the store holds now."""
        self._kept().keep(result)

    def _kept(self) -> Kept[SourceRead]:
        # One that somebody cleared in part is computed again.
        sizes = {path.name: path.stat().st_size for path in self.store.glob("*")}
        of = {"source": source_of(self.context).identity, "model": self.model, "files": sizes}
        inputs = {**of, "asked": self.asked(), "tools": versions(*converter(self.context).packages)}
        return Kept(self.store.with_suffix(".json"), SourceRead, inputs)
