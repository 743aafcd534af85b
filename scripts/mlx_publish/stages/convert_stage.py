"""convert: from a pinned source to `model/`, complete or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from mlx_publish.context import Context, Outcome
from mlx_publish.conversion.again import note_converted
from mlx_publish.conversion.drafting import drafting
from mlx_publish.conversion.judgement import Made, judge, read_from, result_of
from mlx_publish.conversion.planned_file import named_as_given
from mlx_publish.conversion.planning import follows, given_plan, plan_inputs, plans_of
from mlx_publish.conversion.quantization import quantization_of
from mlx_publish.conversion.streaming import Streaming
from mlx_publish.conversion.tame import Trial, try_ahead, try_tokenizer
from mlx_publish.conversion.tokenizer import mend
from mlx_publish.conversion.weights import convert_weights
from mlx_publish.errors import Refused
from mlx_publish.evidence import stages
from mlx_publish.evidence.digests import MADE_FROM_EVIDENCE, FileDigest, folder_digest
from mlx_publish.evidence.results import Converted
from mlx_publish.model.weights import embedding_of
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source.layout import prepare
from mlx_publish.source.resolve import adapter_inputs, converter, metadata_of, source_of
from mlx_publish.source.streamed import forget_streamed, is_to_be_streamed
from mlx_publish.stages.repeated import edited_files
from mlx_publish.stages.stage import Stage
from mlx_publish.text.files import replace_folder


def inputs(context: Context, variant: Variant) -> Mapping[str, object]:
    """Return the source's bytes, the variant with its plan or calibration, and the tools whose version shows."""
    source = context.inspected(variant).source
    return {
        "source": context.report(variant, "inspect").inputs["source"],
        "files": source.files,
        "modality": source.modality,
        "variant": variant.model_dump(mode="json"),
        "tools": converter(context).versions(),
        **plan_inputs(context, variant),
        **context.recipe.asked_parts,
        **adapter_inputs(context, variant),
    }


def ahead(context: Context) -> None:
    """Let the child load MLX, and another one try the tokenizer of a folder, while the source is looked at."""
    context.children.start("convert")
    _trial(context)


def _trial(context: Context) -> Trial | None:
    def begin() -> Trial | None:
        folder = context.recipe.source_folder
        trial = try_ahead(folder) if folder else None
        return context.ending.enter_context(trial) if trial else None

    return context.once("tokenizer on trial", begin)


def complete(context: Context, variant: Variant) -> bool:
    """Return whether `model/` holds the very bytes that the report names, made by the plan that is to be followed."""
    report, folder = context.work.report(variant.label, "convert"), context.work.model(variant.label)
    converted = report.read(Converted) if report and folder.is_dir() else None
    same = converted is not None and folder_digest(context.work.digests(folder)) == converted.model
    return same and follows(context, variant)


def edited(context: Context, variant: Variant) -> Iterator[str]:
    """Yield the files of `model/` that are not the ones that were converted."""
    report, folder = context.work.report(variant.label, "convert"), context.work.model(variant.label)
    converted = report.read(Converted) if report else None
    if converted is not None:
        files = context.work.digests(folder) if folder.is_dir() else ()
        now = {file.path: file.sha256 for file in files if file.path not in MADE_FROM_EVIDENCE}
        yield from edited_files({file.path: file.sha256 for file in converted.files}, now, "converted")


def run(context: Context, variants: Sequence[Variant]) -> Mapping[str, Outcome]:
    """Bring the source here, mend its tokenizer, convert all variants in one child, judge, and only then rename."""
    source = source_of(context)
    paths, placed = context.inspected(variants[0]).source.files, dict[Path, Sequence[FileDigest]]()
    context.console.progress(f"fetching {len(paths)} files of {context.recipe.source_name}")
    with ExitStack() as stack:
        drafter_aside = stack.enter_context(context.work.aside("drafter"))
        streaming = stack.enter_context(_streaming(context, variants, paths))
        folders = {v.label: stack.enter_context(context.work.aside(v.label)) / "model" for v in variants}
        aside, there = stack.enter_context(context.work.aside("source")), streaming.there if streaming else None
        prepared = prepare(source, paths, aside, beside=True, there=there)
        try_tokenizer(prepared.source, _trial(context))
        embedding = embedding_of(prepared.tensors)
        rows = embedding.shape[0] if embedding else None
        mending = mend(prepared.side, metadata_of(context))
        with source.compared(paths):
            plans = plans_of(context, variants, prepared)
            files = {label: str(plan.path.resolve()) for label, plan in plans.items()}
            order = mending.order(prepared.source, rows)
            given = {files[v.label]: path for v in variants if v.label in files and (path := given_plan(context, v))}
            with named_as_given(given):
                conversion = convert_weights(context, variants, folders, prepared, order, files, streaming)
            drafted = drafting(context, prepared, drafter_aside)
            tokenizer = mending.finish(conversion.tokenizer, rows, converter(context).distribution)
        context.settle()

        def put_in_place(variant: Variant) -> Outcome:
            folder = folders[variant.label]
            plan = plans.get(variant.label)
            made = Made(context, variant, prepared, conversion, tokenizer, plan, drafted)
            checks, built = judge(made, folder)
            if built is None:
                return Outcome(checks)
            chosen = quantization_of(context, variant, conversion.variants.get(variant.label), plan)
            told = drafted.told if drafted else None
            made_of = result_of(built, folder, chosen, read_from(made), told)
            result = replace(made_of, streamed=True if streaming else None)
            if all(check.status != "fail" for check in checks):
                folder.chmod(0o755)
                model = context.work.model(variant.label)
                replace_folder(folder, model)
                placed[model] = result.files
                if not streaming:
                    context.work.remember_folder(model, result.files)
                note_converted(context, variant, result.model)
            return Outcome(checks, result)

        # Digests take most of it, and those of several variants can be taken at once.
        with ThreadPoolExecutor() as pool:
            outcomes = dict(zip(folders, pool.map(put_in_place, variants), strict=True))
    if streaming:
        # What was streamed had a second name until now, and to lose it is a change.
        for model, placed_files in placed.items():
            context.work.remember_folder(model, placed_files)
    return outcomes


@contextmanager
def _streaming(context: Context, variants: Sequence[Variant], paths: Sequence[str]) -> Iterator[Streaming | None]:
    """Yield what brings the weights, where the source is streamed.

    What it has goes when all variants are in their places or refused; after anything else the next run goes on with it.
    """
    if not is_to_be_streamed(context, variants):
        forget_streamed(context)
        yield None
        return
    streaming = Streaming.begin(context, paths)
    try:
        yield streaming
    except Refused:
        streaming.judge_links()
        streaming.remove()
        raise
    streaming.remove()


STAGE = Stage(stages.CONVERT, inputs, run, complete, edited, ahead, early=True)
