"""The ids that end an answer: every place that names some has to name all.

mlx-lm takes `eos_token_id` of generation_config.json in place of config.json's and swallows a JSON error there, so a
narrow or broken file makes a model that never stops.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlx_publish.model.draft import GENERATION, MODEL, Change, json_bytes
from mlx_publish.model.vocabulary import read_decoder, read_vocabulary
from mlx_publish.text.bounds import CONFIG
from mlx_publish.text.json_text import FaultyJson, parse

EOS = "eos_token_id"
_NAMED = ("eos_token", "bos_token", "pad_token", "unk_token")
_NONE = "neither config.json, generation_config.json nor the tokenizer names a token that ends an answer"


@dataclass(frozen=True)
class Stopping:
    """The stop ids for config.json and generation_config.json; what needs no change is there as it came."""

    eos_token_id: object
    """For config.json on top; None for no such key."""
    generation_config: bytes | None
    """The whole of generation_config.json; None if there is none and none is needed."""
    ids: tuple[int, ...]
    changes: tuple[Change, ...] = ()
    refusal: str = ""
    """Why the model cannot be made to stop; empty if it can."""


@dataclass(frozen=True)
class _Tokens:
    """Ids by text: of the tokens that stand for themselves, and of all pieces of the vocabulary."""

    special: Mapping[str, int]
    every: Mapping[str, int]

    def text(self, id_: int) -> str:
        return next((text for text, known in self.every.items() if known == id_), "unknown")


def complete_stop_ids(
    config: Mapping[str, object],
    generation_config: bytes | None,
    tokenizer_config: Mapping[str, object],
    tokenizer_json: Mapping[str, object] | None,
    turn_end: str | None,
    *,
    chat: bool,
) -> Stopping:
    """Return what ends an answer, alike for all places.

    `generation_config` is the file's content, None if there is none. `turn_end` is what the chat template puts
    behind an assistant's text: the first token of its own, else the text, None if there is nothing. Without a
    chat template (`chat` false) files that do not contradict each other stay as they are. Raises `Refused` if the
    tokenizer's files list what is no token.
    """
    tokens = _tokens(tokenizer_config, tokenizer_json)
    generation, fault = _read(generation_config)
    own, theirs = stop_ids_in(config), stop_ids_in(generation)
    if not chat and not fault and (not own or not theirs or set(own) == set(theirs)):
        return Stopping(config.get("eos_token_id"), generation_config, theirs or own)
    ids, changes = _union(own, theirs, tokens)
    refusal = ""
    if chat:
        named = _text(tokenizer_config.get("eos_token"))
        ends = [] if named is None or named not in tokens.every else [tokens.every[named]]
        if turn_end is not None and turn_end in tokens.special:
            ends.append(tokens.special[turn_end])
        elif turn_end is not None:
            shown = repr(turn_end[:40])
            refusal = f"the chat template ends an answer with {shown}, which is not a token to stop at"
        ids = tuple(dict.fromkeys((*ids, *ends)))
        refusal = refusal or ("" if ids else _NONE)
    eos = _completed(config, ids, MODEL, changes)
    written = generation_config
    if fault:
        stop = ids[0] if len(ids) == 1 else list(ids) or None
        content = {"bos_token_id": config.get("bos_token_id"), EOS: stop, "pad_token_id": config.get("pad_token_id")}
        written = json_bytes({key: value for key, value in content.items() if value is not None})
        message = f"{GENERATION} was not readable ({fault}); it is rebuilt from {MODEL}"
        changes.append(Change(GENERATION, "", message))
    elif generation_config is not None:
        written = _generation(generation, generation_config, ids, changes)
    return Stopping(eos, written, ids, tuple(changes), refusal or _outside(ids, config, tokens))


def stop_ids_in(config: Mapping[str, object]) -> tuple[int, ...]:
    """Return the ids that a config names as ends, its language part included, each once and in their order."""
    parts = [config, config.get("text_config")]
    ids: list[Any] = []
    for part in parts:
        value = part.get("eos_token_id") if isinstance(part, Mapping) else None
        ids += value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(id_ for id_ in ids if isinstance(id_, int) and not isinstance(id_, bool)))


def no_ids_in(config: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield (key, value) of what a config names as ends and is no whole number, as a text; null names none."""
    for key, part in (("eos_token_id", config), ("text_config.eos_token_id", config.get("text_config"))):
        value = part.get("eos_token_id") if isinstance(part, Mapping) else None
        items = value if isinstance(value, list) else [value]
        yield from ((key, item) for item in items if type(item) is not int and (item is not None or value is not None))


def _tokens(tokenizer_config: Mapping[str, object], tokenizer_json: Mapping[str, object] | None) -> _Tokens:
    vocabulary = read_vocabulary(tokenizer_json or {})
    special = {**read_decoder(tokenizer_config), **vocabulary.added}
    every = {**vocabulary.pieces, **special}
    for key in _NAMED:
        text = _text(tokenizer_config.get(key))
        if text is not None and text in every:
            special[text] = every[text]
    return _Tokens(special, every)


def _read(data: bytes | None) -> tuple[dict[str, Any], str]:
    """Return the object and "", or an empty one and what is wrong."""
    if data is None:
        return {}, ""
    try:
        content = parse(data, CONFIG)
    except FaultyJson as error:
        return {}, f"line {error.line}: {error.message}" if error.line else error.message
    return (content, "") if isinstance(content, dict) else ({}, "no JSON object")


def _union(own: tuple[int, ...], theirs: tuple[int, ...], tokens: _Tokens) -> tuple[tuple[int, ...], list[Change]]:
    """Return the ids of both files, those first that apply today, and what stays out.

    config.json may carry a library's default (2, say) that is an ordinary token here; where
    generation_config.json names others it does not apply today, and must not cut answers short tomorrow.
    """
    ordinary = [id_ for id_ in own if theirs and id_ not in theirs and id_ not in tokens.special.values()]
    known = set(tokens.every.values())
    left = [id_ for id_ in ordinary if id_ in known]
    why = {id_: f"it is the ordinary token {tokens.text(id_)!r}" for id_ in left}
    changes = [Change(MODEL, EOS, f"{EOS} {id_} of {MODEL} left out: {why[id_]}") for id_ in left]
    return tuple(dict.fromkeys(id_ for id_ in (*theirs, *own) if id_ not in left)), changes


def _completed(data: Mapping[str, object], ids: tuple[int, ...], path: str, changes: list[Change]) -> Any:
    """Return the value of `eos_token_id`; a value that says the same already stays as it is."""
    before = data.get("eos_token_id")
    listed = before if isinstance(before, list) else [before]
    if not ids or (set(map(repr, listed)) == set(map(repr, ids))):
        return before
    after = ids[0] if len(ids) == 1 else list(ids)
    changes.append(Change(path, EOS, f"{EOS} of {path} is {after} now, was {before}"))
    return after


def _generation(generation: Mapping[str, object], data: bytes, ids: tuple[int, ...], changes: list[Change]) -> bytes:
    before = len(changes)
    after = _completed(generation, ids, GENERATION, changes)
    if len(changes) > before:
        return json_bytes({**generation, "eos_token_id": after})
    if data.startswith(codecs.BOM_UTF8):
        message = f"byte order mark removed from {GENERATION}, which clients cannot parse"
        changes.append(Change(GENERATION, "", message))
    return data.removeprefix(codecs.BOM_UTF8)


def _outside(ids: Iterable[int], config: Mapping[str, object], tokens: _Tokens) -> str:
    """Say which stop id lies outside of the vocabulary: no model ever generates it."""
    nested = config.get("text_config")
    rows = config.get("vocab_size") or (nested.get("vocab_size") if isinstance(nested, Mapping) else None)
    size = rows if isinstance(rows, int) else max(tokens.every.values(), default=-1) + 1
    wrong = [id_ for id_ in ids if id_ < 0 or (size and id_ >= size)]
    return f"the stop id {wrong[0]} is outside the vocabulary of {size}" if wrong else ""


def _text(token: object) -> str | None:
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else None
