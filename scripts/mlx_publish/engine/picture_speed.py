"""Speed and memory of a prompt with one picture, beside as many tokens of text alone."""

from __future__ import annotations

import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import cast

import mlx.core as mx

from mlx_publish.chat.pictures import PICTURES, SIZE
from mlx_publish.engine.backends import SeesPictures, backend
from mlx_publish.engine.picture_passages import PicturePassage, question_about, said
from mlx_publish.engine.speed import LEAST_TRIALS, Bench, length_speed
from mlx_publish.evidence.speed import PictureSpeed, Speed
from mlx_publish.machine.series import Summary, settled, summary
from mlx_publish.text.progress import Step

_EACH = 0.45
"""Of the time: a prompt with a picture and one without; the rest goes into the embeddings alone."""


def with_picture(bench: Bench, folder: Path, speed: Speed) -> Speed:
    """Return a speed with that of a prompt with a picture, or with the reason why it has none, until the deadline."""
    try:
        return replace(speed, picture=_measured(bench, question_about(folder, PICTURES[0].one), speed))
    except Exception as error:  # noqa: BLE001  whatever a processor or a tower raises says that it does not work
        traceback.print_exc()
        return replace(speed, picture_not_measured=said(error))


def _measured(bench: Bench, passage: PicturePassage, speed: Speed) -> PictureSpeed:
    tokens, generation = len(passage.ids), speed.lengths[0].generation_tokens
    share = bench.left * _EACH
    text = replace(bench)
    pictured = replace(bench, ids=list(passage.ids), inputs=passage.inputs)
    pictured.tell(f"a prompt with a picture of {SIZE} x {SIZE} pixels, {tokens} tokens")
    seen = length_speed(pictured, tokens, generation, time.monotonic() + share)
    text.tell(f"as many tokens of text alone, {tokens}")
    alone = length_speed(text, tokens, generation, time.monotonic() + share)
    return PictureSpeed(SIZE, SIZE, passage.image_tokens, seen, alone, _encoding(bench, passage))


def _encoding(bench: Bench, passage: PicturePassage) -> Summary:
    """Return the seconds that the embeddings of a prompt with a picture take."""
    taken: list[float] = []
    ids = mx.array([passage.ids])
    embedded = cast("SeesPictures", backend()).embedded
    # The first one counts only where the next agrees with it.
    while len(taken) <= LEAST_TRIALS or (len(taken) <= bench.trials and taken[-1] < bench.left):
        bench.tell(Step("looking at the picture", min(len(taken), bench.trials), bench.trials, "runs"))
        start = time.perf_counter()
        mx.eval([value for value in embedded(bench.model, ids, **passage.inputs).values() if value is not None])
        taken.append(round(time.perf_counter() - start, 4))
    return summary(list(settled(taken)[-bench.trials :]))
