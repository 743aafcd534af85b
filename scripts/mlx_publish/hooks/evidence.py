"""evidence.json beside a card: read, and held against the recipe and against itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlx_publish.checks.upload import OTHER_BITS
from mlx_publish.errors import BadInput, Fault, in_file
from mlx_publish.evidence.digests import SCHEMA, FileDigest, folder_digest, sha256_of
from mlx_publish.evidence.evidence import Evidence, NotEvidence
from mlx_publish.evidence.planned import plan_of, wrong_plan
from mlx_publish.evidence.quantization import PLAN_FILE
from mlx_publish.hooks.json_lines import key_lines
from mlx_publish.hub.manifest import plan_fault
from mlx_publish.recipes.faults import joined
from mlx_publish.recipes.recipe import Recipe, Variant
from mlx_publish.text.bounds import EVIDENCE
from mlx_publish.text.json_text import FaultyJson, read_within

_AS_MADE = "Restore the evidence file that mlx-publish wrote; to change a number, measure again."
Claim = tuple[str, object, object]
"""A key of the evidence, what it says there, and what the recipe gives."""


@dataclass(frozen=True)
class Lines:
    """A file of evidence, and the line of each of its keys."""

    path: Path
    content: str

    @cached_property
    def lines(self) -> Mapping[str, int]:
        """The line of every key."""
        return key_lines(self.content)

    def line_of(self, key: str) -> int:
        """Return the line of a key, or of the nearest one above it."""
        while key and key not in self.lines:
            key = key.rpartition(".")[0]
        return self.lines.get(key, 1)

    def wrong(self, key: str, message: str, remedy: str) -> BadInput:
        """Return the error of a key."""
        return BadInput(message, place=in_file(self.path, self.line_of(key)), key=key, remedy=remedy)

    def fault(self, key: str, message: str) -> Fault:
        """Return the fault of a key."""
        return Fault(message, in_file(self.path, self.line_of(key)), key, _AS_MADE)


@dataclass(frozen=True)
class EvidenceFile(Lines):
    """A file of evidence, and what it says."""

    evidence: Evidence


def read_evidence(path: Path) -> EvidenceFile:
    """Read a file of evidence. Raises `BadInput` naming file and line where it is none."""
    try:
        content = read_within(path, EVIDENCE.most_bytes)
    except FaultyJson as error:
        raise BadInput(error.message, place=in_file(path), remedy=_AS_MADE) from error
    try:
        return EvidenceFile(path, content.decode("utf-8-sig", "replace"), Evidence.read(content))
    except NotEvidence as error:
        raise _unusable(error, Lines(path, content.decode("utf-8-sig", "replace"))) from error


def _unusable(error: NotEvidence, file: Lines) -> BadInput:
    if error.message:
        return BadInput(error.message, place=in_file(file.path, error.line or 1), remedy=_AS_MADE)
    if not isinstance(error.schema, str):
        return file.wrong("schema", "this key is missing" if error.schema is None else "is not text", _AS_MADE)
    if error.schema != SCHEMA:
        words = f"says {error.schema!r}, but this mlx-publish writes {SCHEMA!r}"
        return file.wrong("schema", words, "Run mlx-publish card again.")
    return joined([file.fault(fault.key, fault.message) for fault in error.faults])


def disagreements(file: EvidenceFile, recipe: Recipe, variant: Variant, folder: Path) -> Iterator[Fault]:
    """Yield where evidence, recipe and folder tell different things, and where a number stands in two forms."""
    for key, value, wanted in _wanted(file.evidence, recipe, variant):
        if value != wanted:
            yield file.fault(key, f"says {_shown(value)}, but {recipe.place} gives {_shown(wanted)}")
    place = recipe.destinations[variant.label].reviewed_as
    if "/".join(folder.absolute().parts[-2:]) != place:
        message = f"is in {folder}, but {recipe.place} publishes it as {place}"
        yield Fault(message, in_file(file.path), remedy=f"Move the card to a folder whose path ends with {place}.")
    yield from _twice(file)
    yield from (file.fault(fault.key, fault.message) for fault in wrong_plan(file.evidence))
    yield from _plan(file, folder / PLAN_FILE)
    model = file.evidence.model
    listed = folder_digest(FileDigest(entry.path, entry.size, entry.sha256) for entry in model.files)
    if listed != model.model:
        yield file.fault("model.model", f"says {_shown(model.model)} but the files below it give '{listed}'")


def _wanted(evidence: Evidence, recipe: Recipe, variant: Variant) -> Iterator[Claim]:
    """Yield what the recipe decides."""
    source, form = evidence.source, evidence.variant
    yield "source.repo", source.repo, None if recipe.source_folder else recipe.spec.source
    yield "source.base_model", source.base_model, recipe.base_model
    for key, wanted in (variant.form.plain() | {"options": dict(variant.form.options)}).items():
        yield f"variant.{key}", getattr(form, key), wanted
    adapter, spec = evidence.adapter, recipe.spec
    fused = None if recipe.adapter_folder else spec.adapter
    yield "adapter.repo", adapter.repo if adapter else None, fused
    if fused and len(spec.adapter_revision or "") == 40:
        yield "adapter.identity", adapter.identity if adapter else None, spec.adapter_revision
    pinned = recipe.spec.revision or ""
    if len(pinned) == 40 and not recipe.source_folder:
        yield "source.identity", source.identity, pinned


def _plan(file: EvidenceFile, path: Path) -> Iterator[Fault]:
    """Yield what is wrong with the plan beside a card: who changes it there changes no weight."""
    plan = plan_of(file.evidence)
    if plan is None:
        if path.is_file():
            yield Fault("this variant was made without a plan", in_file(path), remedy="Remove the file.")
    elif not path.is_file():
        remedy = "Restore the file that mlx-publish wrote."
        yield Fault(f"no {PLAN_FILE} next to it, and the evidence names it", in_file(file.path), remedy=remedy)
    elif fault := plan_fault(path):
        yield Fault(fault, in_file(path), remedy="Restore the file that mlx-publish wrote.")
    elif sha256_of(path) != plan.sha256:
        yield Fault("differs from the plan that the weights were made by", in_file(path), remedy=OTHER_BITS)


def _twice(file: EvidenceFile) -> Iterator[Fault]:
    """Yield where the table of all variants says of this one another thing than its measurements."""
    evidence = file.evidence
    model, fidelity = evidence.model, evidence.fidelity
    for number, rung in enumerate(evidence.ladder):
        if rung.label != evidence.variant.label:
            continue
        repeated: list[tuple[str, str, float | None, float]] = [
            ("model", "weight_bytes", rung.weight_bytes, model.weight_bytes),
            ("model", "bits_per_weight", rung.bits_per_weight, model.bits_per_weight),
        ]
        if fidelity:
            repeated += [
                ("fidelity", "mean_kld", rung.mean_kld, fidelity.mean_kld),
                ("fidelity", "mean_kld_error", rung.mean_kld_error, fidelity.mean_kld_error),
                ("fidelity", "same_first_choice", rung.same_first_choice, fidelity.same_first_choice),
            ]
        for room, key, value, there in repeated:
            if value is not None and value != there:
                yield file.fault(f"ladder[{number}].{key}", f"says {value}, but {room}.{key} says {there}")


def _shown(value: object) -> str:
    return "nothing" if value is None else repr(value)
