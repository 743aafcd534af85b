"""Judge what was made of a variant: the built model, the tokenizer, and what lies in the folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.built import BUILT, BuiltFacts
from mlx_publish.checks.held_built import HELD_BUILT
from mlx_publish.checks.output import CONVERT, Built
from mlx_publish.checks.planned import PLANNED, PlannedFacts
from mlx_publish.checks.tokenizer_output import TOKENIZER_OUTPUT, TokenizerOutput
from mlx_publish.checks.towers import TOWERS
from mlx_publish.context import Context
from mlx_publish.conversion.drafting import Drafting
from mlx_publish.conversion.pixels import judge_pixels
from mlx_publish.conversion.planning import Followed
from mlx_publish.conversion.side import add_side_files, claim_text_alone, write_stopping
from mlx_publish.evidence.conversion import Conversion, Repacked, Written
from mlx_publish.evidence.digests import FileDigest, folder_digest, sha256_of, sha256_of_all
from mlx_publish.evidence.drafter import Drafter
from mlx_publish.evidence.quantization import PLAN_FILE, Quantization
from mlx_publish.evidence.report import Finding
from mlx_publish.evidence.results import Converted, KeptTower, ReadFrom
from mlx_publish.model.config import DTYPES
from mlx_publish.model.files import FolderFiles, read_json_file
from mlx_publish.model.kept import sentence
from mlx_publish.model.senses import is_language, kinds_in, senses_in
from mlx_publish.model.weights import INDEX, TensorInfo, bits_per_weight, parameter_count
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source.layout import Prepared
from mlx_publish.source.resolve import converter, place

_ENCODER = re.compile(r"^(vision|visual|audio|speech|sam|image)_?(tower|model|encoder|transformer)?$|^(vpm|apm)$")


@dataclass(frozen=True)
class Made:
    """A variant that was converted, with all that is known of its source."""

    context: Context
    variant: Variant
    prepared: Prepared
    conversion: Conversion
    tokenizer: TokenizerOutput
    plan: Followed | None = None
    drafting: Drafting | None = None

    @property
    def source_tensors(self) -> tuple[TensorInfo, ...]:
        """Tensors of the source without those that are not of the language model, beside which it may be small."""
        dropped, arrived = self.conversion.tensors.dropped, ("fused", "reordered", "tied")
        kept = (t for t in self.prepared.tensors if dropped.get(t.name, "fused") in arrived)
        senses = converter(self.context).senses
        return tuple(t for t in kept if not senses or is_language(t.name))


def judge(made: Made, folder: Path) -> tuple[tuple[Finding, ...], Built | None]:
    """Add the side files to a converted folder, judge all of it, and return the findings and what was built.

    What was built is None if a number overflowed, and nothing whole was written.
    """
    context, variant, prepared = made.context, made.variant, made.prepared
    inspected = context.inspected(variant)
    name = converter(context).distribution
    facts = BuiltFacts(variant.label, made.conversion, prepared.normalised, name, twin=inspected.twin is not None)
    checks = run_checks((*BUILT, *HELD_BUILT), facts, context.recipe.accepted)
    checks += run_checks(TOKENIZER_OUTPUT, made.tokenizer, context.recipe.accepted)
    if not (folder / "config.json").exists():
        return checks, None
    repaired = add_side_files(prepared, folder)
    if made.plan:
        place(folder / PLAN_FILE, made.plan.path, link=False)
    write_stopping(folder, made.tokenizer.stopping)
    if inspected.source.modality == "text":
        claim_text_alone(folder)
    if made.drafting:
        made.drafting.place(folder)
    files, written = FolderFiles(folder), made.conversion.variants.get(variant.label, Written())
    built = Built(
        variant=variant,
        source_tensors=made.source_tensors,
        tensors={path: files.header(path) for path in files.entries if _is_weights(path)},
        index=read_json_file(files, INDEX),
        config=read_json_file(files, "config.json") or {},
        source_sha256={path: sha256_of(prepared.source / path) for path in prepared.side_files},
        sha256=_digests(made, files, written.sha256),
        repaired=repaired,
        kept=written.kept,
        towers=written.towers,
        made_on=written.learned.made_on if written.learned else made.conversion.made_on,
        names=(variant.label, context.recipe.destinations[variant.label].name),
    )
    checks += run_checks((*CONVERT, *TOWERS), built, context.recipe.accepted)
    checks += judge_pixels(context, prepared, folder)
    checks += made.drafting.checks(context.recipe) if made.drafting else ()
    return checks + run_checks(PLANNED, _planned(made, built), context.recipe.accepted), built


def _is_weights(path: str) -> bool:
    """Return whether a file has weights of the model; those of a drafter lie in a folder of its own."""
    return path.endswith(".safetensors") and "/" not in path


def _planned(made: Made, built: Built) -> PlannedFacts | None:
    """Return what is judged of a plan; None for a variant without one."""
    if made.plan is None:
        return None
    tensors, block = built.language_tensors, built.config.get("quantization")
    identity = made.context.inspected(made.variant).source.identity
    weight_bytes = sum(tensor.nbytes for tensor in tensors)
    return made.plan.facts(identity, bits_per_weight(tensors, block), weight_bytes)


def _digests(made: Made, files: FolderFiles, written: Mapping[str, str]) -> dict[str, str]:
    """Return the SHA-256 of all files by path: of weights as they were `written`, of all else as it is there now.

    That a weight file has the length of what was written, its header says.
    """
    known = {path: written[path] for path in files.entries if path.endswith(".safetensors") and path in written}
    rest = [path for path in files.entries if path not in known]
    total = sum(files.entries[path].size for path in rest)
    digested = made.context.console.of_bytes(f"digests of {made.variant.label}", total)
    digests = sha256_of_all((files.folder / path for path in rest), digested)
    return {**known, **dict(zip(rest, digests, strict=True))}


def read_from(made: Made) -> ReadFrom | None:
    """Return what became of the weights of a quantized source; None for plain numbers."""
    packed = made.conversion.packed
    if packed is None:
        return None
    repacked = made.conversion.variants.get(made.variant.label, Written()).repacked or Repacked(0, 0)
    return ReadFrom(
        repacked=repacked.weights,
        quantized=repacked.of,
        apart=packed.apart,
        compared=packed.numbers,
        rounded=repacked.rounded,
        off=repacked.off,
    )


def _towers(built: Built) -> list[KeptTower] | None:
    """Return what the report keeps of each part that sees or hears; None for a text model."""
    if built.towers is None:
        return None
    parts: dict[str, list[TensorInfo]] = {}
    for tensor in built.tower_tensors:
        parts.setdefault(tensor.name.partition(".")[0], []).append(tensor)
    claimed = kinds_in(senses_in(built.config))
    return [_tower(name, tensors, built, claimed) for name, tensors in sorted(parts.items())]


def _tower(name: str, tensors: Sequence[TensorInfo], built: Built, claimed: frozenset[str]) -> KeptTower:
    senses = kinds_in([name]) or kinds_in(tensor.name for tensor in tensors) or claimed
    packed = built.towers if any(tensor.name.endswith(".scales") for tensor in tensors) else None
    return KeptTower(
        name=name[:200],
        sense="images" if "images" in senses else "audio",
        role="encoder" if _ENCODER.search(name) else "projector",
        tensors=len(tensors),
        parameters=parameter_count(tensors, built.config.get("quantization")),
        bytes=sum(tensor.nbytes for tensor in tensors),
        dtypes=sorted({DTYPES[tensor.dtype] for tensor in tensors if tensor.dtype in DTYPES}),
        bits=packed.bits if packed else None,
        group_size=packed.group_size if packed else None,
    )


def result_of(
    built: Built,
    folder: Path,
    chosen: Quantization | None = None,
    source: ReadFrom | None = None,
    drafter: Drafter | None = None,
) -> Converted:
    """Return what the report keeps of a converted folder.

    `chosen` says how bits were chosen or learned, `source` what became of quantized weights of the source.
    """
    digests = tuple(FileDigest(p, (folder / p).stat().st_size, digest) for p, digest in built.sha256.items())
    tensors, quantization = built.all_tensors, built.config.get("quantization")
    return Converted(
        model=folder_digest(digests),
        files=sorted(digests),
        bytes=sum(file.size for file in digests),
        weight_bytes=sum(tensor.nbytes for tensor in tensors),
        parameters=parameter_count(tensors, quantization),
        bits_per_weight=round(bits_per_weight(built.language_tensors, quantization), 4),
        towers=_towers(built),
        kept_wider=sentence(built.kept) or None,
        dtypes=sorted({tensor.dtype for tensor in tensors}),
        made_on=built.made_on,
        quantization=chosen,
        read_from=source,
        drafter=drafter,
    )
