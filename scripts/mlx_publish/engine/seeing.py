"""What a model answers to pictures and sounds, and how far it is moved by another one under the same question."""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_publish.chat.media import MOST_TOKENS, Contrast, Medium, asked_in
from mlx_publish.chat.pictures import PICTURES
from mlx_publish.chat.sounds import SOUNDS
from mlx_publish.engine.held import unpacked
from mlx_publish.engine.loading import fast_blas_in_front, load_model, warnings_of_loading
from mlx_publish.engine.prompts import finished
from mlx_publish.engine.showing import Reader, forced, in_parts, inputs_of, reader_of, rendered, users_messages
from mlx_publish.errors import PublishError
from mlx_publish.evidence.measured import Answer
from mlx_publish.evidence.seen import Apart, Perceived, Shown
from mlx_publish.model.files import FolderFiles
from mlx_publish.model.tokenizer import stop_ids
from mlx_publish.text.progress import Step, Tell

_ALONG = 8
"""Tokens of an answer along which two media are compared."""
_LIKELIEST = 16
"""Tokens whose log-probabilities are compared, with each of both media."""
_LEAST = -1e4
_KEPT, _LONGEST = 1000, 300  # characters of a prompt and of a reason
_MEDIA = {"picture": PICTURES, "sound": SOUNDS}


def perceived(
    folder: str,
    processor: str,
    kinds: Sequence[str],
    options: Mapping[str, object],
    along: Mapping[str, dict[str, Any]],
    progress: Tell,
    *,
    tokenizer: str = "",
    source: bool = False,
) -> Perceived:
    """Show the model in `folder` media of some kinds, through the processor of the folder `processor`.

    `along` are the fields of an `Apart` for each contrast, of the source: its answers are followed, and its tokens
    compared. A `source` is read as the conversion reads it, and takes ids from the folder `tokenizer`: where its own
    files name a class that reads its tokenizer.json otherwise, that is mended in what was made of it.
    """
    progress("loading")
    with warnings_of_loading() as warnings:
        reader = reader_of(Path(processor))
        if tokenizer and hasattr(reader.processor, "tokenizer"):
            reader.processor.tokenizer = reader_of(Path(tokenizer)).tokenizer
        if source:
            model, _, computed_in = load_model(folder, dequantize=fast_blas_in_front(), source=True)
        else:
            held = unpacked(folder)
            model, computed_in = held.model, held.computed_in
    contrasts = [contrast for kind in kinds for contrast in _MEDIA[kind]]
    showing = Showing(model, reader, prompts_of(reader, contrasts, options), _ends(reader, Path(processor)))
    given = {name: Apart(**fields) for name, fields in along.items()}
    shown, apart, faults = showing.all(contrasts, given, progress)
    vocabulary = 1 + max(reader.tokenizer.get_vocab().values(), default=-1)
    return Perceived(computed_in, sorted(showing.ends), vocabulary, shown, apart, faults, warnings)


def prompts_of(reader: Reader, contrasts: Sequence[Contrast], options: Mapping[str, object]) -> dict[str, str]:
    """Return the prompts by question, as mlx-vlm's users get them; in parts where those have no place for a medium."""
    asked = {contrast.one.question: contrast.one.kind for contrast in contrasts}
    calls: dict[str, Callable[[], str]] = {}
    for question, kind in asked.items():
        ways = {"users": users_messages(reader, question, kind), "parts": in_parts(question, kind)}
        for way, messages in {**ways, "bare": _bare(question)}.items():
            calls[f"{question} ({way})"] = partial(rendered, reader, messages, options)
    made = finished(calls)

    def prompt(question: str) -> str:
        users, parts, bare = (made[f"{question} ({way})"] for way in ("users", "parts", "bare"))
        for text in (users, parts):
            if isinstance(text, str) and text != bare:
                return text
        if isinstance(users, Exception):
            raise users
        return users

    return {question: prompt(question) for question in asked}


def _bare(question: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": question}]}]


def _ends(reader: Reader, folder: Path) -> set[int]:
    """Return the ids at which an answer ends: the tokenizer's own, and those that the configs name."""
    text = reader.config.get("text_config")
    inner = text.get("eos_token_id") if isinstance(text, dict) else None
    named = (*stop_ids(FolderFiles(folder)), inner, reader.tokenizer.eos_token_id)
    return {id_ for ids in named for id_ in (ids if isinstance(ids, list) else [ids]) if isinstance(id_, int)}


@dataclass(frozen=True)
class Showing:
    """A model in memory, and what it is asked with."""

    model: Any
    reader: Reader
    prompts: Mapping[str, str]
    ends: set[int]

    def all(
        self, contrasts: Sequence[Contrast], along: Mapping[str, Apart], progress: Tell
    ) -> tuple[dict[str, Shown], dict[str, Apart], dict[str, str]]:
        """Ask about every medium and compare those of every contrast; what fails is a fault of its own."""
        faults: dict[str, str] = {}
        media = asked_in(contrasts)
        calls: dict[str, Callable[[], Any]] = {medium.name: partial(self.answer, medium) for medium in media}
        step = Step("looking", 0, len(media) + len(contrasts), "questions and comparisons")
        shown = dict(_tried(calls, faults, progress, step))
        calls = {}
        for contrast in contrasts:
            if (given := along.get(contrast.name)) or contrast.one.name in shown:
                tokens = given.tokens if given else shown[contrast.one.name].answer.tokens[:_ALONG]
                calls[contrast.name] = partial(self.apart, contrast, tokens, given)
        apart = dict(_tried(calls, faults, progress, replace(step, done=len(media))))
        return shown, apart, faults

    def answer(self, medium: Medium) -> Shown:
        """Return the greedy answer to a medium's question."""
        inputs = self._inputs(medium, medium.question)
        ids = [int(id_) for id_ in inputs["input_ids"].flatten().tolist()]
        tokens: list[int] = []
        for token, _ in self._steps(inputs, MOST_TOKENS):
            tokens.append(token)
            if token in self.ends:
                break
        stopped = bool(tokens) and tokens[-1] in self.ends
        before_end = tokens[:-1] if stopped else tokens
        special = {
            int(id_): str(token)
            for id_, token in self.reader.tokenizer.added_tokens_decoder.items()
            if getattr(token, "special", True)
        }
        answer = Answer(
            rendered=self.prompts[medium.question][:_KEPT],
            prompt_tokens=len(ids),
            answer=str(self.reader.tokenizer.decode(before_end)),
            tokens=tokens,
            stop="stop" if stopped else "length",
            stop_id=tokens[-1] if stopped else None,
            leaked=sorted({special[id_] for id_ in before_end if id_ in special}),
        )
        place = self.reader.place(medium.kind)
        places = None if place is None else ids.count(place)
        return Shown(answer, places, hashlib.sha256(json.dumps(ids).encode()).hexdigest())

    def apart(self, contrast: Contrast, tokens: Sequence[int], given: Apart | None) -> Apart:
        """Return log-probabilities along an answer with each of both media; of the tokens that are `given`, or own."""
        one, other = (
            [scores for _, scores in self._steps(self._inputs(medium, contrast.one.question), len(tokens), tokens)]
            for medium in (contrast.one, contrast.other)
        )
        if not all(np.isfinite(scores).any() and not np.isnan(scores).any() for scores in (*one, *other)):
            raise ValueError("the logits are no numbers")
        ids = given.ids if given else [_likeliest(*pair) for pair in zip(one, other, strict=True)]
        return Apart(list(tokens), ids, _of(one, ids), _of(other, ids))

    def _inputs(self, medium: Medium, question: str) -> dict[str, Any]:
        return inputs_of(self.reader, self.prompts[question], medium)

    def _steps(self, inputs: dict[str, Any], count: int, along: Sequence[int] = ()) -> list[tuple[int, np.ndarray]]:
        """Return so many tokens with the log-probabilities of each step, by mlx-vlm's own loop."""
        from mlx_vlm.generate.ar import generate_step  # noqa: PLC0415  it looks at the device

        given = dict(inputs)
        ids, pixels = given.pop("input_ids"), given.pop("pixel_values", None)
        mask = given.pop("attention_mask", None)
        sampler = forced(along) if along else None
        steps = generate_step(
            ids, self.model, pixels, mask, max_tokens=count, temperature=0.0, sampler=sampler, **given
        )
        made: list[tuple[int, np.ndarray]] = []
        for token, scores in steps:
            made.append((int(token), np.array(scores.astype(mx.float32)).reshape(-1)))
            if not along and int(token) in self.ends:
                break
        return made


def _likeliest(one: np.ndarray, other: np.ndarray) -> list[int]:
    """Return the tokens that are likeliest with either medium."""
    count = min(_LIKELIEST, len(one))
    tops = (np.argpartition(scores, -count)[-count:] for scores in (one, other))
    return sorted({int(id_) for top in tops for id_ in top})


def _of(steps: Sequence[np.ndarray], ids: Sequence[Sequence[int]]) -> list[list[float]]:
    """Return log-probabilities of tokens; JSON has no infinity, which a masked token's is."""
    return [[max(float(scores[id_]), _LEAST) for id_ in at] for scores, at in zip(steps, ids, strict=True)]


def _tried(
    calls: Mapping[str, Callable[[], Any]], faults: dict[str, str], progress: Tell, step: Step
) -> Iterator[tuple[str, Any]]:
    """Yield what calls return, by name; what one raises goes to `faults`."""
    for number, (name, call) in enumerate(calls.items()):
        progress(replace(step, done=step.done + number))
        try:
            yield name, call()
        except PublishError:
            raise
        except Exception as error:  # noqa: BLE001  whatever a processor or a tower raises says that it does not work
            traceback.print_exc()
            faults[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:_LONGEST]}"
