"""evidence.json beside a card: read, and held against the recipe and against itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlx_publish.errors import BadInput, Fault, in_file
from mlx_publish.evidence.digests import SCHEMA, FileDigest, folder_digest
from mlx_publish.evidence.schema import faults
from mlx_publish.hooks.json_lines import key_lines
from mlx_publish.recipes.faults import joined
from mlx_publish.recipes.recipe import Recipe, Variant
from mlx_publish.text.bounds import EVIDENCE
from mlx_publish.text.json_text import FaultyJson, parse, read_within

_AS_MADE = "Take the evidence as it was made; a number changes by measuring again."


@dataclass(frozen=True)
class Evidence:
    """What one file says, and where it says it."""

    path: Path
    content: str
    data: Mapping[str, Any]

    @cached_property
    def lines(self) -> Mapping[str, int]:
        """The line of every key."""
        return key_lines(self.content)

    def value(self, key: str) -> Any:
        """Return what stands at a path of keys with dots, None where nothing does."""
        found: Any = self.data
        for part in key.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return found

    def text(self, key: str) -> str:
        """Return a value that has to be a text. `BadInput` where it is none."""
        found = self.value(key)
        if not isinstance(found, str):
            raise self.wrong(key, "this key is missing" if found is None else "is no text", _AS_MADE)
        return found

    def line_of(self, key: str) -> int:
        """Return the line of a key, or of the nearest one above it."""
        while key and key not in self.lines:
            key = key.rpartition(".")[0]
        return self.lines.get(key, 1)

    def wrong(self, key: str, message: str, remedy: str) -> BadInput:
        """Make the error of a key."""
        return BadInput(message, place=in_file(self.path, self.line_of(key)), key=key, remedy=remedy)

    def fault(self, key: str, message: str) -> Fault:
        """Return the fault of a key."""
        return Fault(message, in_file(self.path, self.line_of(key)), key, _AS_MADE)


def read_evidence(path: Path) -> Evidence:
    """Read a file of evidence. Raises `BadInput` naming file and line where it is none."""
    try:
        content = read_within(path, EVIDENCE.most_bytes)
        data = parse(content, EVIDENCE)
    except FaultyJson as error:
        raise BadInput(error.message, place=in_file(path, error.line or 1), remedy=_AS_MADE) from error
    if not isinstance(data, dict):
        raise BadInput("is not a JSON object", place=in_file(path), remedy=_AS_MADE)
    found = Evidence(path, content.decode("utf-8-sig"), data)
    if (schema := found.text("schema")) != SCHEMA:
        raise found.wrong("schema", f"says {schema!r} where this mlx-publish writes {SCHEMA!r}", "Render it again.")
    if wrong := [found.fault(fault.key, fault.message) for fault in faults(data)]:
        raise joined(wrong)
    return found


def disagreements(evidence: Evidence, recipe: Recipe, variant: Variant, folder: Path) -> Iterator[Fault]:
    """Yield where evidence, recipe and folder tell different things, and where a number stands in two forms."""
    for key, value in _wanted(recipe, variant).items():
        if (found := evidence.value(key)) != value:
            yield evidence.fault(key, f"says {_shown(found)} where {recipe.place} gives {_shown(value)}")
    place = recipe.destinations[variant.label].reviewed_as
    if "/".join(folder.absolute().parts[-2:]) != place:
        message = f"lies in {folder}, and {recipe.place} sends it to {place}"
        yield Fault(message, in_file(evidence.path), remedy="Move the card.")
    yield from _twice(evidence)
    yield from _digests(evidence)


def _wanted(recipe: Recipe, variant: Variant) -> dict[str, Any]:
    """What the recipe decides."""
    wanted: dict[str, Any] = {
        "source.repo": None if recipe.source_folder else recipe.spec.source,
        "source.base_model": recipe.base_model,
        "variant.quantized": variant.quantized,
        "variant.bits": variant.q_bits,
        "variant.group_size": variant.q_group_size,
        "variant.mode": variant.q_mode if variant.quantized else None,
        "variant.mixed": variant.mixed,
        "variant.dtype": variant.dtype,
    }
    pinned = recipe.spec.revision or ""
    return wanted | ({"source.identity": pinned} if len(pinned) == 40 and not recipe.source_folder else {})


def _twice(evidence: Evidence) -> Iterator[Fault]:
    """The table of all variants repeats what stands of this one elsewhere."""
    ladder, label = evidence.value("ladder"), evidence.value("variant.label")
    for number, rung in enumerate(ladder if isinstance(ladder, list) else ()):
        if not isinstance(rung, Mapping) or rung.get("label") != label:
            continue
        for room in ("model", "fidelity"):
            there = evidence.value(room)
            for key in rung.keys() & (there.keys() if isinstance(there, Mapping) else set()):
                if type(rung[key]) in (int, float) and rung[key] != there[key]:
                    said = f"says {rung[key]} where {room}.{key} says {there[key]}"
                    yield evidence.fault(f"ladder[{number}].{key}", said)


def _digests(evidence: Evidence) -> Iterator[Fault]:
    """The one digest of the model is that of its list of files."""
    digest, files = evidence.value("model.model"), evidence.value("model.files")
    if digest is None or not isinstance(files, list):
        return
    try:
        listed = folder_digest(FileDigest(**file) for file in files)
    except TypeError:
        yield evidence.fault("model.files", "is no list of files with size and digest")
        return
    if listed != digest:
        yield evidence.fault("model.model", f"says {_shown(digest)} and the files below it give '{listed}'")


def _shown(value: object) -> str:
    return "nothing" if value is None else repr(value)
