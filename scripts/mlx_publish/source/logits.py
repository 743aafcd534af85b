"""The source's logits on the test text: computed once, kept beside the source's other facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from mlx_publish.children.engine import Children
from mlx_publish.children.jobs import Job, run_job
from mlx_publish.context import Context
from mlx_publish.evidence.measured import SourceRead
from mlx_publish.evidence.records import from_json
from mlx_publish.source.bounds import bounds
from mlx_publish.source.kept import Kept
from mlx_publish.source.pictured import pictures_digest, sees
from mlx_publish.source.resolve import converter, source_of
from mlx_publish.text.documents import Document, documents

_TEXTS = files("mlx_publish").joinpath("data/fidelity")
_PLAIN = ("prose", "code", "scripts")


def texts() -> dict[str, Any]:
    """Return the documents of the comparison by kind: the fields of `engine.passages.Texts`."""
    plain = {kind: [document.text for document in _documents(kind)] for kind in _PLAIN}
    return {**plain, "dialogue": [document.turns for document in _documents("dialogue")]}


def joined() -> Mapping[str, str]:
    """Return all documents of a kind as one text, but for the dialogues."""
    return {kind: "\n\n".join(document.text for document in _documents(kind)) for kind in _PLAIN}


def _documents(kind: str) -> list[Document]:
    return documents(_TEXTS.joinpath(f"{kind}.txt").read_text("utf-8"))


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

    def order(self, processor: Path) -> dict[str, object]:
        """Return the arguments of the engine; `processor` is the folder with that of a model that sees."""
        more = {"processor": str(processor)} if sees(self.context) else {}
        return {**self.asked(), "store": str(self.store), **more}

    def asked(self) -> dict[str, object]:
        """Return the texts, and how many tokens of them."""
        return {"texts": texts(), "tokens": self.context.recipe.spec.fidelity.tokens}

    def known(self) -> SourceRead | None:
        """Return what is known of the stored ones, or None if they have to be computed."""
        return self._kept().known()

    def keep(self, result: SourceRead) -> None:
        """Note what the store holds now."""
        self._kept().keep(result)

    def read(self, folder: Path, processor: Path, children: Children | None = None) -> SourceRead:
        """Let the model in `folder` read the texts, keep its logits, and return what is known of them.

        `processor` is the folder with that of a model that sees.
        """
        log = self.context.work.source / "reference.log"
        job = Job("reference", {"source": str(folder), **self.order(processor)}, log, bounds(self.context), children)
        result = from_json(SourceRead, run_job(job, self.context.console.progress))
        self.keep(result)
        return result

    def _kept(self) -> Kept[SourceRead]:
        # One that somebody cleared in part is computed again.
        files = (path for path in self.store.rglob("*") if path.is_file())
        sizes = {path.relative_to(self.store).as_posix(): path.stat().st_size for path in files}
        of = {**source_of(self.context).named, "model": self.model, "files": sizes}
        asked = {**self.asked(), **({"pictures": pictures_digest()} if sees(self.context) else {})}
        inputs = {**of, "asked": asked, "tools": converter(self.context).versions()}
        return Kept(self.store.with_suffix(".json"), SourceRead, inputs)
