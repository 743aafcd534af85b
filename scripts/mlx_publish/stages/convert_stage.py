"""convert: from a pinned source to `model/`, complete or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.built import BUILT, Told
from mlx_publish.checks.output import CONVERT, Built
from mlx_publish.checks.tokenizer_output import TOKENIZER_OUTPUT, TokenizerOutput
from mlx_publish.children.jobs import Job, run_job
from mlx_publish.evidence.digests import FileDigest, folder_digest, listing, sha256_of, sha256_of_all
from mlx_publish.evidence.report import Finding
from mlx_publish.machine.packages import COMPUTING, versions
from mlx_publish.model.files import FolderFiles, read_json_file
from mlx_publish.model.kept import KeptLayers
from mlx_publish.model.weights import INDEX, TensorInfo, bits_per_weight, embedding_of, parameter_count, read_header
from mlx_publish.recipes.recipe import Variant
from mlx_publish.stages.again import note_converted
from mlx_publish.stages.answers import SourceAnswers
from mlx_publish.stages.context import Context, Outcome, Stage
from mlx_publish.stages.measuring import bounds, source_fits
from mlx_publish.stages.mend import begin, claim_text_alone, finish, write_stopping
from mlx_publish.stages.prepare import Prepared, add_side_files, prepare
from mlx_publish.stages.reference import Reference
from mlx_publish.stages.source import metadata_of, source_of
from mlx_publish.stages.tame import try_tokenizer
from mlx_publish.text.files import replace_folder


def inputs(context: Context, variant: Variant) -> Mapping[str, Any]:
    """The source's bytes, the variant, and the tools whose version shows in the result."""
    report = context.report(variant, "inspect")
    return {
        "source": report.inputs["source"],
        "files": report.result["source"]["files"],
        "modality": report.result["source"].get("modality"),
        "variant": variant.model_dump(mode="json"),
        "tools": versions(*COMPUTING),
    }


def ahead(context: Context) -> None:
    """Let the child load MLX while the source's digests are taken."""
    context.children.start("convert")


def complete(context: Context, variant: Variant) -> bool:
    """Tell whether `model/` holds the very bytes that the report names."""
    report, folder = context.work.report(variant.label, "convert"), context.work.model(variant.label)
    if report is None or not folder.is_dir():
        return False
    return folder_digest(context.work.digests(folder)) == report.result.get("model")


def run(context: Context, variants: Sequence[Variant]) -> Mapping[str, Outcome]:
    """Download, convert all variants in one child, add the side files, judge, and only then rename."""
    source = source_of(context)
    paths: list[str] = context.report(variants[0], "inspect").result["source"]["files"]
    context.console.progress(f"bringing {len(paths)} files of {context.recipe.source_name} here")
    with ExitStack() as stack:
        asides = {v.label: stack.enter_context(context.work.aside(v.label)) / "model" for v in variants}
        prepared = prepare(source, paths, stack.enter_context(context.work.aside("source")))
        try_tokenizer(prepared.source)
        result, mended = _convert(context, variants, prepared, asides)
        source.unchanged(paths)

        def judge(variant: Variant) -> Outcome:
            twin = context.report(variant, "inspect").result["twin"] is not None
            checks = run_checks(BUILT, Told(variant.label, result, prepared.normalised, twin), context.recipe.accepted)
            checks += run_checks(TOKENIZER_OUTPUT, mended, context.recipe.accepted)
            return _finish(context, variant, prepared, asides[variant.label], (mended, checks, result))

        # Digests take most of it, and those of several variants can be taken at once.
        with ThreadPoolExecutor() as pool:
            return dict(zip((v.label for v in variants), pool.map(judge, variants), strict=True))


def _convert(
    context: Context, variants: Sequence[Variant], prepared: Prepared, asides: Mapping[str, Path]
) -> tuple[dict[str, Any], TokenizerOutput]:
    """Convert the weights, and meanwhile compare the tokenizer, for which no weight is needed; then mend it."""
    reference = Reference(context)
    asking = SourceAnswers(context)
    # On a machine that could not hold it besides, later stages read the source once more.
    fits = source_fits(context)
    wanted = fits and "fidelity" in context.planned and reference.known() is None
    asked = fits and "smoke" in context.planned and asking.known() is None
    embedding = embedding_of(_source_tensors(context, variants[0], prepared.source))
    rows = embedding.shape[0] if embedding else None
    mending = begin(prepared.side, metadata_of(context))
    arguments = {
        "source": str(prepared.links), "asked": prepared.config, "reference": reference.order() if wanted else None,
        "variants": [_order(variant, asides[variant.label]) for variant in variants],
        "tokenizer": {"folder": str(prepared.side), "source": str(prepared.source), "rows": rows},
        "questions": {"questions": asking.questions()} if asked else None,
    }  # fmt: skip
    log, children = context.work.source / "convert.log", context.children
    job = Job("convert", arguments, log, bounds(context, len(variants)), children)
    result = run_job(job, context.console.progress)
    if "reference" in result:
        reference.keep(result["reference"])
    if "answers" in result:
        asking.keep(result["answers"])
    return result, finish(mending, result["tokenizer"], rows)


def _order(variant: Variant, folder: Path) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "label": variant.label,
        "quantize": variant.quantized,
        "bits": variant.q_bits,
        "group_size": variant.q_group_size,
        "mode": variant.q_mode,
        "mixed": variant.mixed,
        "dtype": variant.dtype,
    }


def _finish(
    context: Context,
    variant: Variant,
    prepared: Prepared,
    folder: Path,
    so_far: tuple[TokenizerOutput, tuple[Finding, ...], Mapping[str, Any]],
) -> Outcome:
    """Add the side files and the ids that end an answer, judge what was built, and put it in place where it is good."""
    mended, checks, told = so_far
    if not (folder / "config.json").exists():  # a number overflowed, and nothing whole was written
        return Outcome(checks, {})
    repaired = add_side_files(prepared, folder)
    write_stopping(folder, mended.stopping)
    if context.report(variant, "inspect").result["source"].get("modality") == "text":
        claim_text_alone(folder)
    side = {path: sha256_of(prepared.source / path) for path in prepared.side_files}
    built = _built(context, variant, prepared.source, side, folder)
    built = replace(
        built,
        repaired=repaired,
        source_tensors=_converted(built.source_tensors, told["tensors"]["dropped"]),
        kept=KeptLayers.of(told["kept"][variant.label]),
    )
    checks += run_checks(CONVERT, built, context.recipe.accepted)
    digests = tuple(FileDigest(p, (folder / p).stat().st_size, digest) for p, digest in built.sha256.items())
    if all(check.status != "fail" for check in checks):
        folder.chmod(0o755)
        replace_folder(folder, context.work.model(variant.label))
        note_converted(context, variant, folder_digest(digests))
    return Outcome(checks, _result(built, digests))


def _source_tensors(context: Context, variant: Variant, source: Path) -> tuple[TensorInfo, ...]:
    paths: list[str] = context.report(variant, "inspect").result["source"]["files"]
    return tuple(t for path in paths if path.endswith(".safetensors") for t in read_header(source / path))


def _converted(tensors: tuple[TensorInfo, ...], dropped: Mapping[str, str]) -> tuple[TensorInfo, ...]:
    """Without those that are not of the language model, beside which it may be small."""
    return tuple(tensor for tensor in tensors if dropped.get(tensor.name, "fused") in ("fused", "tied"))


def _built(context: Context, variant: Variant, source: Path, side: Mapping[str, str], folder: Path) -> Built:
    files = FolderFiles(folder)
    return Built(
        variant=variant,
        source_tensors=_source_tensors(context, variant, source),
        tensors={path: files.header(path) for path in files.entries if path.endswith(".safetensors")},
        index=read_json_file(files, INDEX),
        config=read_json_file(files, "config.json") or {},
        source_sha256=side,
        sha256=dict(zip(files.entries, sha256_of_all(folder / path for path in files.entries), strict=True)),
    )


def _result(built: Built, digests: tuple[FileDigest, ...]) -> dict[str, Any]:
    tensors: tuple[TensorInfo, ...] = built.all_tensors
    quantization = built.config.get("quantization")
    return {
        "model": folder_digest(digests),
        "files": listing(digests),
        "bytes": sum(file.size for file in digests),
        "weight_bytes": sum(tensor.nbytes for tensor in tensors),
        "parameters": parameter_count(tensors, quantization),
        "bits_per_weight": round(bits_per_weight(tensors, quantization), 4),
        **({"kept_wider": said} if (said := built.kept.sentence()) else {}),
        "dtypes": sorted({tensor.dtype for tensor in tensors}),
    }


STAGE = Stage("convert", "inspect", inputs, run, complete, ahead)
