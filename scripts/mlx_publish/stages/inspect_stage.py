"""inspect: what the source is, whether it can be converted, and whether this machine is large enough."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.licence import licence_of
from mlx_publish.checks.source import INSPECT, SourceFacts
from mlx_publish.engine.child import memory_bytes
from mlx_publish.engine.support import mlx_lm_support
from mlx_publish.errors import SurroundingsError
from mlx_publish.hub.repo import exists
from mlx_publish.model.card import read_card
from mlx_publish.model.config import ModelConfig
from mlx_publish.model.files import read_json_file
from mlx_publish.model.select import carried_files
from mlx_publish.model.size import estimate_bytes
from mlx_publish.model.tokenizer import read_tokenizer
from mlx_publish.model.weights import parameter_count, weight_files
from mlx_publish.recipe import Recipe, Variant
from mlx_publish.stages.context import Context, Outcome, Stage
from mlx_publish.stages.source import Source, source_of

SMALLEST_WEIGHTS = 1024


def inputs(context: Context, variant: Variant) -> Mapping[str, Any]:
    """Commit or digest of the source, and what is asked for."""
    support = mlx_lm_support()
    return {
        "source": source_of(context).identity,
        "recipe": context.recipe.digest_of("source", "revision", "license", "license_name", "license_link", "accept"),
        "variant": variant.model_dump(mode="json"),
        "destination": str(context.recipe.destinations[variant.label]),
        "mlx_lm": support.version if support else None,
    }


def run(context: Context, variants: Sequence[Variant]) -> Mapping[str, Outcome]:
    """Look at metadata and headers; judge once for each variant."""
    source = source_of(context)
    context.console.progress(f"looking at {context.recipe.spec.source}")
    facts = {variant.label: _facts(context, variant, source) for variant in variants}
    outcomes = {
        label: Outcome(run_checks(INSPECT, found, context.recipe.accepted), _result(found))
        for label, found in facts.items()
    }
    if all(check.status != "fail" for outcome in outcomes.values() for check in outcome.checks):
        _machine_fits(context, facts)
    return outcomes


def _facts(context: Context, variant: Variant, source: Source) -> SourceFacts:
    files, support = source.files, mlx_lm_support()
    entries = files.entries
    weights = weight_files(entries, read_json_file(files, "model.safetensors.index.json"))
    if "headers" not in context.cache:
        readable = [path for path in weights if path in entries and entries[path].size >= SMALLEST_WEIGHTS]
        context.cache["headers"] = {path: files.header(path) for path in readable}
    return SourceFacts(
        recipe=context.recipe,
        variant=variant,
        identity=source.identity,
        entries=entries,
        config=ModelConfig(read_json_file(files, "config.json") or {}),
        tokenizer=read_tokenizer(files),
        card=read_card(files),
        weights=weights,
        headers=context.cache["headers"],
        mlx_lm=(support.version, support.types) if support else None,
        taken=_taken(context.recipe, variant),
    )


def _taken(recipe: Recipe, variant: Variant) -> dict[str, bool]:
    """Ask the Hub only where it is concerned anyway: a folder to a folder needs no network."""
    destination = recipe.destinations[variant.label].repo
    if recipe.source_folder and destination is None:
        return {}
    names = [destination] if destination else []
    if variant.q_bits:
        names.append(f"mlx-community/{recipe.source_name}-{variant.q_bits}bit")
    return {name: exists(name) for name in dict.fromkeys(names)}


def _result(facts: SourceFacts) -> dict[str, Any]:
    tensors = [tensor for header in facts.headers.values() for tensor in header]
    licence = licence_of(facts.recipe, facts.card)
    return {
        "source": {
            "name": facts.recipe.source_name,
            "repo": None if facts.recipe.source_folder else facts.recipe.spec.source,
            "identity": facts.identity,
            "base_model": facts.recipe.base_model,
            "parameters": parameter_count(tensors),
            "weight_bytes": sum(tensor.nbytes for tensor in tensors),
            "weight_dtypes": sorted({tensor.dtype for tensor in tensors}),
            "files": sorted(carried_files(facts.entries, facts.weights)),
        },
        "config": facts.config.summary(),
        "tokenizer": facts.tokenizer.summary(),
        "licence": {"id": licence.id, "name": licence.name, "link": licence.link},
        "card": {
            "language": list(facts.recipe.spec.language or facts.card.texts("language")),
            "pipeline_tag": facts.card.text("pipeline_tag"),
            "problem": facts.card.problem,
        },
        "estimated_bytes": estimate_bytes(tensors, facts.variant),
        "taken": dict(facts.taken),
    }


def _machine_fits(context: Context, facts: Mapping[str, SourceFacts]) -> None:
    """Raise `SurroundingsError` where the disk or the memory is too small: no verdict on the model."""
    sizes = {
        label: estimate_bytes([t for header in found.headers.values() for t in header], found.variant)
        for label, found in facts.items()
    }
    if max(sizes.values()) > memory_bytes():
        raise SurroundingsError(
            f"a model of {_gb(max(sizes.values()))} does not fit into {_gb(memory_bytes())} of memory",
            remedy="Take fewer bits, or a machine with more memory.",
        )
    context.work.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(context.work.folder).free
    # The tokenizer and other side files are small beside the weights, but not beside a tiny model's.
    first = next(iter(facts.values()))
    side = sum(e.size for p, e in first.entries.items() if not p.endswith(".safetensors") and e.size < 64 << 20)
    needed = sum(sizes.values()) + len(sizes) * side
    if needed > free:
        raise SurroundingsError(
            f"{context.work.folder} has {_gb(free)} free and the conversion needs about {_gb(needed)}",
            remedy="Free space, or take another --work folder on a larger disk.",
        )
    _cache_fits(context, first)


def _cache_fits(context: Context, facts: SourceFacts) -> None:
    """The download goes into the Hub's cache, which may lie on another disk."""
    if context.recipe.source_folder:
        return
    from huggingface_hub.constants import HF_HUB_CACHE  # noqa: PLC0415

    cache = Path(HF_HUB_CACHE)
    repo = cache / f"models--{facts.recipe.spec.source.replace('/', '--')}" / "snapshots" / facts.identity
    missing = sum(facts.entries[path].size for path in facts.weights if not (repo / path).exists())
    there = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if missing > free:
        raise SurroundingsError(
            f"{cache} has {_gb(free)} free and the download needs {_gb(missing)}",
            remedy="Free space, or set HF_HOME to a larger disk.",
        )


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


STAGE = Stage("inspect", None, inputs, run)
