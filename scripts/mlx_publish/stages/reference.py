"""The source's log-probabilities on the test text: computed once, kept beside the source's other facts."""

from __future__ import annotations

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

TEXT = files("mlx_publish").joinpath("data/fidelity.txt")


@dataclass(frozen=True)
class Reference:
    """Where they lie, and whether they are those of this source, this text and these tools."""

    context: Context

    @property
    def store(self) -> Path:
        """A safetensors file; `engine/fidelity` says what is in it."""
        return self.context.work.source / "reference.safetensors"

    def order(self) -> dict[str, Any]:
        """Arguments of the engine."""
        return {**self.asked(), "store": str(self.store)}

    def asked(self) -> dict[str, Any]:
        """The text, and how many tokens of it."""
        return {"text": TEXT.read_text(encoding="utf-8"), "tokens": self.context.recipe.spec.fidelity.tokens}

    def known(self) -> dict[str, Any] | None:
        """Return what was told about the stored ones, or None where they have to be computed."""
        said = read_json(self.store.with_suffix(".json"))
        if not isinstance(said, dict) or said.get("key") != self._key() or not self.store.exists():
            return None
        result: dict[str, Any] = said["result"]
        return result

    def keep(self, result: Mapping[str, Any]) -> None:
        """Note what the store holds now."""
        text = json_text({"key": self._key(), "result": dict(result)})
        write_atomically(self.store.with_suffix(".json"), text)

    def _key(self) -> str:
        tools = {name: found for name, found in versions().items() if name in ("mlx", "mlx-lm", "transformers")}
        return digest_of({"source": source_of(self.context).identity, "asked": self.asked(), "tools": tools})
