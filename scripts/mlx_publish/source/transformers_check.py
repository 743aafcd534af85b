"""The unquantized source in MLX beside the same source in transformers; done once for all variants, and kept."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from mlx_publish.checks.reference import ReferenceFacts
from mlx_publish.children.engine import Children
from mlx_publish.children.jobs import Job, run_job
from mlx_publish.children.torch import Torch, compare
from mlx_publish.context import Context
from mlx_publish.evidence.digests import digest_of
from mlx_publish.evidence.proof import Compared, LogitsRead, ReferenceProof
from mlx_publish.evidence.records import from_json, to_json
from mlx_publish.machine.resources import memory_bytes
from mlx_publish.source.bounds import parameters, rounded
from mlx_publish.source.kept import Kept
from mlx_publish.source.layout import readable_source
from mlx_publish.source.resolve import converter, source_of
from mlx_publish.source.twin import torch_of
from mlx_publish.text.numbers import memory, size
from mlx_publish.text.progress import Tell

TEXTS = files("mlx_publish").joinpath("data/reference.json")
_FLOAT32 = 4  # bytes of a weight that both compute with
_SHARE = 0.6  # of the memory that one copy may take; the two are never there at once


def reference_inputs(context: Context) -> dict[str, object]:
    """Return what a report that holds such a result depends on, beside the source: texts and tools."""
    return {
        "texts": digest_of(_texts()),
        "tools": _tools(context),
        "reference": dict(torch_of(context).versions),
    }


def _tools(context: Context) -> dict[str, str]:
    """Return the versions of what computes in MLX; transformers is named by the reference."""
    own = converter(context)
    return {name: version for name, version in own.versions().items() if name != "transformers"}


def reference_facts(context: Context) -> ReferenceFacts:
    """Compare, or say why that is not possible here; a comparison of the same inputs is kept."""
    torch = torch_of(context)
    fused = "transformers has no fused form of the base and the adapter" if context.recipe.spec.adapter else ""
    if reason := torch.reason or fused or _too_large(context):
        return ReferenceFacts(None, reason)
    inputs = {**source_of(context).named, **reference_inputs(context)}
    kept = Kept(context.work.source / "reference-check.json", ReferenceProof, inputs)
    if (known := kept.known()) is not None:
        return ReferenceFacts(known)
    with readable_source(context) as links:
        original, store = _as_written(context, links.parent), links.parent / "logits.safetensors"
        logs, progress = context.work.source, context.console.progress
        facts = compare_folders(links, original, torch, store, logs, progress, context.children)
    if facts.proof is not None:
        kept.keep(facts.proof)
    return facts


def _texts() -> list[dict[str, Any]]:
    texts: list[dict[str, Any]] = json.loads(TEXTS.read_text(encoding="utf-8"))
    return texts


def _too_large(context: Context) -> str:
    needed, there = _FLOAT32 * parameters(context), memory_bytes()
    if needed <= _SHARE * there:
        return ""
    return f"the source takes {size(needed)} in float32, too much for {memory(there)} of memory"


def compare_folders(
    read: Path,
    original: Path,
    torch: Torch,
    store: Path,
    logs: Path,
    progress: Tell,
    children: Children | None = None,
) -> ReferenceFacts:
    """Compare the model in `read`, with a config for mlx-lm, with that in `original`, with a config for transformers.

    `store` is a file for the logits in between, `logs` a folder for what both children print.
    """
    order = {"source": str(read), "texts": texts(), "store": str(store)}
    read_logits = from_json(
        LogitsRead, run_job(Job("logits", order, logs / "reference-mlx.log", children=children), progress)
    )
    progress(f"the same texts with transformers {torch.versions['transformers']}")
    answer = compare(torch, original, store, logs / "reference-torch.log")
    if not answer.result:
        return ReferenceFacts(None, answer.reason)
    return ReferenceFacts(proof_of(from_json(Compared, answer.result), read_logits, torch))


def texts() -> list[tuple[str, int]]:
    """Return the texts, and how many tokens of each are read."""
    return [(text["text"], text["tokens"]) for text in _texts()]


def _as_written(context: Context, aside: Path) -> Path:
    """Make links to the chosen weights and to config.json in its authors' words, so that nothing else has a say."""
    source, folder = aside / "source", aside / "original"
    for path in context.inspected_source.files:
        if path == "config.json" or path.endswith((".safetensors", ".safetensors.index.json")):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).symlink_to((source / path).resolve())
    return folder


def proof_of(compared: Compared, logits: LogitsRead, torch: Torch) -> ReferenceProof:
    """Return what the report keeps; six digits are more than rounding leaves alone."""
    return ReferenceProof(
        **vars(from_json(Compared, rounded(to_json(compared)))),
        against="transformers",
        versions=torch.versions,
        computed_in="float32 on the CPU, both",
        sequences=logits.sequences,
        tokens_sha256=logits.tokens_sha256,
    )
