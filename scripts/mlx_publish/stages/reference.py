"""The source's logits on the test text: computed once, kept beside the source's other facts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from mlx_publish.engine.support import versions
from mlx_publish.evidence import digest_of, json_text
from mlx_publish.stages.context import Context
from mlx_publish.stages.source import source_of
from mlx_publish.work import read_json, write_atomically

_TEXTS = files("mlx_publish").joinpath("data/fidelity")


def texts() -> dict[str, Any]:
    """The texts of the comparison by kind; `dialogue` is a list of dialogues."""
    found: dict[str, Any] = {
        kind: _TEXTS.joinpath(f"{kind}.txt").read_text(encoding="utf-8") for kind in ("prose", "code", "scripts")
    }
    return {**found, "dialogue": json.loads(_TEXTS.joinpath("dialogue.json").read_text(encoding="utf-8"))}


@dataclass(frozen=True)
class Reference:
    """Where they lie, and whether they are those of this source, this text and these tools.

    There is one store a recipe, of a bounded size; a new one takes the place of the old.
    """

    context: Context
    model: str = "source"
    """`source`, or the digest of the variant that stands for a source too large for this machine."""

    @property
    def store(self) -> Path:
        """A folder; `engine/logits_store` says what is in it."""
        return self.context.work.source / "reference"

    def order(self) -> dict[str, Any]:
        """Arguments of the engine."""
        return {**self.asked(), "store": str(self.store)}

    def asked(self) -> dict[str, Any]:
        """The texts, and how many tokens of them."""
        return {"texts": texts(), "tokens": self.context.recipe.spec.fidelity.tokens}

    def known(self) -> dict[str, Any] | None:
        """Return what was told about the stored ones, or None where they have to be computed."""
        said = read_json(self.store.with_suffix(".json"))
        if not isinstance(said, dict) or said.get("key") != self._key():
            return None
        if said.get("files") != self._files():
            return None
        result: dict[str, Any] = said["result"]
        return result

    def keep(self, result: Mapping[str, Any]) -> None:
        """Note what the store holds now."""
        text = json_text({"key": self._key(), "files": self._files(), "result": dict(result)})
        write_atomically(self.store.with_suffix(".json"), text)

    def _files(self) -> dict[str, int]:
        """Sizes by name: a store that somebody cleared in part is computed again."""
        return {path.name: path.stat().st_size for path in sorted(self.store.glob("*"))}

    def _key(self) -> str:
        tools = {name: found for name, found in versions().items() if name in ("mlx", "mlx-lm", "transformers")}
        of = {"source": source_of(self.context).identity, "model": self.model}
        return digest_of({**of, "asked": self.asked(), "tools": tools})
