"""How much the converted model still is its source: both read the same text, position by position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn

from mlx_publish.engine.answering import answers_of
from mlx_publish.engine.backends import backend
from mlx_publish.engine.device import trusted
from mlx_publish.engine.divergence import gathered
from mlx_publish.engine.encoding import rendering
from mlx_publish.engine.held import unpacked
from mlx_publish.engine.loading import fast_blas_in_front, fit, load_model
from mlx_publish.engine.logits_store import (
    as_arrays,
    logits_of,
    read_logits,
    read_passages,
    seen_by,
    tokens_within,
    write_store,
)
from mlx_publish.engine.passages import Texts, passages, tokens_sha256
from mlx_publish.engine.prompts import finished
from mlx_publish.engine.questions import prompts
from mlx_publish.errors import Refused
from mlx_publish.evidence.measured import Answers, Divergence, Question, SourceRead
from mlx_publish.evidence.pictured import PicturesRead
from mlx_publish.text.progress import Step, Tell, counted


@dataclass(frozen=True)
class ReferenceOrder:
    """What a source is to read, how many tokens of it at most, and the folder that its logits go to."""

    texts: Texts
    tokens: int
    store: Path
    processor: Path | None = None
    """The folder with the processor of a source that sees, which reads texts with pictures as well."""


def reference(
    source: str, texts: dict[str, Any], tokens: int, store: str, progress: Tell, processor: str = ""
) -> SourceRead:
    """Let the model in `source` read `texts`, the fields of a `Texts`, and keep its logits in the folder `store`.

    With the folder of a `processor` it reads texts with pictures as well.
    """
    progress("loading the source")
    model, tokenizer, computed_in = load_model(source, dequantize=fast_blas_in_front(), source=True)
    order = ReferenceOrder(Texts(**texts), tokens, Path(store), Path(processor) if processor else None)
    return reference_of(model, tokenizer, Path(source), order, computed_in, progress)


def reference_of(
    model: Any,
    tokenizer: Any,
    folder: Path,
    order: ReferenceOrder,
    computed_in: str,
    progress: Tell,
) -> SourceRead:
    """Do the same with a model that is in memory already."""
    # Logits of a position, those of padding included; asked for their number alone, none is computed.
    vocabulary = int(model(mx.array([[0]])).shape[-1])
    within = tokens_within(vocabulary, order.tokens)
    parts = passages(folder, tokenizer, order.texts, within)
    count = sum(part.positions for part in parts)
    pictures: list[PicturesRead] = []

    def look(aside: Path) -> None:
        if order.processor is not None:
            from mlx_publish.engine.picture_fidelity import read_source_pictures  # noqa: PLC0415  mlx-lm needs none

            pictures.append(read_source_pictures(aside, model, order.processor, progress))

    write_store(order.store, model, parts, progress, look)
    read = SourceRead(count, tokens_sha256(parts), within < order.tokens, computed_in)
    return replace(read, pictures=next(iter(pictures), None))


def compare(folder: str, label: str, store: str, progress: Tell, positions: str = "") -> Divergence:
    """Compare a converted model with the logits in `store`, on the very ids that lie beside them.

    `positions` is a path that the values of all positions go to, as an .npz of `Positions.arrays`. Whether the
    converted tokenizer gives these ids is a check of its own, in convert.
    """
    progress(f"loading {label}")
    # The CPU's quantized kernels are slower than a good BLAS, and no slower than a bad one.
    held = unpacked(folder)
    parts = read_passages(Path(store))
    step = Step(f"running {label}", 0, sum(part.positions for part in parts), "tokens")
    theirs = read_logits(Path(store))
    ours = as_arrays(counted(logits_of(held.model, parts), len, progress, step))
    first, mine = next(theirs), next(ours)
    if first.shape != mine.shape:
        raise Refused(f"logits of shape {mine.shape} where the source has {first.shape}", check="same-shape")
    pairs = [(part.kind, part.ids) for part in parts]
    values = gathered(pairs, chain([first], theirs), chain([mine], ours))
    if positions:
        values.save(Path(positions))
    figures = replace(values.divergence(), tokens_sha256=tokens_sha256(parts), computed_in=held.computed_in)
    if not seen_by(Path(store)):
        return figures
    from mlx_publish.engine.picture_fidelity import compare_pictures  # noqa: PLC0415  mlx-lm needs none

    pictures = compare_pictures(Path(store), held.model, label, progress)
    if isinstance(pictures, str):
        return replace(figures, pictures_fault=pictures)
    return replace(figures, pictures=pictures)


def ask_source(
    model: nn.Module,
    source: str,
    tokenizer: str,
    reference: dict[str, Any] | None,
    questions: Sequence[dict[str, Any]],
    progress: Tell,
) -> tuple[SourceRead | None, Answers | None]:
    """Store the logits of a source that is in memory where there is a `reference`, and let it answer `questions`.

    `source` is the folder that it was read from, `tokenizer` that of the converted tokenizer.
    """
    trusted(progress)
    computed_in, made = fit(model), backend().tokenizer_that_stops(Path(tokenizer))
    asked = [Question(**question) for question in questions]
    order = None
    if reference:
        processor = Path(reference["processor"]) if reference.get("processor") else None
        order = ReferenceOrder(Texts(**reference["texts"]), reference["tokens"], Path(reference["store"]), processor)
    # What is rendered below is rendered here, by one child, and known from now on.
    finished({**prompts(made, asked).calls, **(rendering(made, order.texts.dialogue) if order else {})})
    read = reference_of(model, made, Path(source), order, computed_in, progress) if order else None
    return read, answers_of(model, made, asked, computed_in, progress) if asked else None
