"""convert: from a pinned source to `model/`, complete or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.output import CONVERT, Built
from mlx_publish.engine.child import Job, run_job
from mlx_publish.engine.support import versions
from mlx_publish.evidence import MADE_FROM_EVIDENCE, FileDigest, folder_digest, listing, sha256_of
from mlx_publish.model.files import FileEntry, FolderFiles, ModelFiles, read_json_file
from mlx_publish.model.select import is_legal, is_tokenizer, side_files
from mlx_publish.model.weights import TensorInfo, bits_per_weight, parameter_count
from mlx_publish.recipe import Variant
from mlx_publish.stages.context import Context, Outcome, Stage
from mlx_publish.stages.source import source_of
from mlx_publish.work import replace_folder

TOOLS = ("mlx", "mlx-lm", "transformers")


def inputs(context: Context, variant: Variant) -> Mapping[str, Any]:
    """The source's bytes, the variant, and the tools whose version shows in the result."""
    report = context.report(variant, "inspect")
    found = versions()
    return {
        "source": report.inputs["source"],
        "files": report.result["source"]["files"],
        "variant": variant.model_dump(mode="json"),
        "tools": {tool: found[tool] for tool in TOOLS if tool in found},
    }


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
    folder = source.local(paths)
    with ExitStack() as stack:
        asides = {v.label: stack.enter_context(context.work.aside(v.label)) for v in variants}
        links = stack.enter_context(context.work.aside("source"))
        _link(folder, paths, links)
        _convert(context, variants, links, asides)
        return {v.label: _finish(context, v, folder, asides[v.label] / "model") for v in variants}


def _link(folder: Path, paths: Sequence[str], links: Path) -> None:
    """Show mlx-lm exactly the chosen files: it reads every `model*.safetensors` that it sees."""
    for path in paths:
        # mlx-lm would copy a card or a script from its source folder; it gets neither.
        if path == "README.md" or is_legal(path):
            continue
        (links / path).parent.mkdir(parents=True, exist_ok=True)
        (links / path).symlink_to((folder / path).resolve())


def _convert(context: Context, variants: Sequence[Variant], links: Path, asides: Mapping[str, Path]) -> None:
    orders = [
        {
            "folder": str(asides[variant.label] / "model"),
            "label": variant.label,
            "quantize": variant.quantized,
            "bits": variant.q_bits,
            "group_size": variant.q_group_size,
            "mode": variant.q_mode,
            "mixed": variant.mixed,
            "dtype": variant.dtype,
        }
        for variant in variants
    ]
    job = Job("convert", {"source": str(links), "variants": orders}, context.work.source / "convert.log")
    run_job(job, context.console.progress)


def _finish(context: Context, variant: Variant, source: Path, folder: Path) -> Outcome:
    """Add what mlx-lm leaves out, judge what was built, and put it in place where it is good."""
    files = FolderFiles(source)
    wanted = side_files({path: FileEntry(path, 0) for path in files.entries})
    _side_files(source, wanted, folder)
    built = _built(context, variant, files, {path: sha256_of(source / path) for path in sorted(wanted)}, folder)
    checks = run_checks(CONVERT, built, context.recipe.accepted)
    digests = tuple(FileDigest(p, (folder / p).stat().st_size, digest) for p, digest in built.sha256.items())
    if all(check.status != "fail" for check in checks):
        folder.chmod(0o755)
        replace_folder(folder, context.work.model(variant.label))
    return Outcome(checks, _result(built, digests))


def _side_files(source: Path, wanted: set[str], folder: Path) -> None:
    """The tokenizer and legal files go over byte for byte; mlx-lm's own writing of them is dropped."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        written_anew = is_tokenizer(name) and (name in wanted or (source / "tokenizer.json").exists())
        if path.is_file() and (name in MADE_FROM_EVIDENCE or name.endswith(".py") or written_anew):
            path.unlink()
    for name in sorted(wanted):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, folder / name)


def _built(context: Context, variant: Variant, source: ModelFiles, side: Mapping[str, str], folder: Path) -> Built:
    files = FolderFiles(folder)
    weights = [
        path for path in context.report(variant, "inspect").result["source"]["files"] if path.endswith(".safetensors")
    ]
    return Built(
        variant=variant,
        source_tensors=tuple(tensor for path in weights for tensor in source.header(path)),
        tensors={path: files.header(path) for path in files.entries if path.endswith(".safetensors")},
        index=read_json_file(files, "model.safetensors.index.json"),
        config=read_json_file(files, "config.json") or {},
        source_sha256=side,
        sha256={path: sha256_of(folder / path) for path in files.entries},
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
        "dtypes": sorted({tensor.dtype for tensor in tensors}),
    }


STAGE = Stage("convert", "inspect", inputs, run, complete)
