"""Ids that end an answer: config.json, generation_config.json, the tokenizer and the chat template agree on them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from mlx_publish.errors import Fault, Refused
from mlx_publish.hooks.faults import faults_of
from mlx_publish.hooks.model_folder import ModelFolder
from mlx_publish.model.draft import CONFIG, FAST, GENERATION, MODEL, SPECIAL, read_object
from mlx_publish.model.files import MemoryFiles
from mlx_publish.model.portable import portable
from mlx_publish.model.stopping import EOS, Stopping, complete_stop_ids
from mlx_publish.model.tokenizer import TokenizerInfo, read_tokenizer
from mlx_publish.text.bounds import CONFIG as CONFIG_BOUNDS
from mlx_publish.text.json_text import parse

_FIX = "Run the hook with --fix, or correct it by hand."
_DIALOGUES = ("user", "no generation prompt", "first turn", "several turns", "two users")
# Where neither config nor vocabulary tell how many tokens there are, no id is too large.
_ANY_SIZE = 1 << 40


def turn_ends(models: Sequence[ModelFolder]) -> list[str | None]:
    """Return what each model's chat template has generation stop at; one child renders all templates."""
    chats = {number: info for number, model in enumerate(models) if (info := _chat(model))}
    ends: list[str | None] = [None] * len(models)
    if not chats:
        return ends
    from mlx_publish.chat.turn import turn_end  # noqa: PLC0415
    from mlx_publish.hooks.rendered import Model, looks  # noqa: PLC0415  many models have no template here

    asked = [Model(info.templates, info.special_tokens) for info in chats.values()]
    for number, look in zip(chats, looks(asked, _DIALOGUES), strict=True):
        ends[number] = turn_end(look, _special(models[number])).stop
    return ends


def stop_ids(model: ModelFolder, turn_end: str | None, *, fix: bool) -> Iterator[Fault]:
    """Yield where a file names fewer ends than another; with `fix` all name all."""
    if model.config is None:
        return
    try:
        stopping = _completed(model, turn_end)
    except Refused as error:
        yield from faults_of(error, model.folder / MODEL)
        return
    if stopping.refusal:
        yield model.fault(MODEL, EOS, stopping.refusal, f"Set {EOS} to the token that ends an answer.")
        return
    for change in stopping.changes:
        message = change.message if fix else f"the files disagree about the EOS ids; --fix writes: {change.message}"
        yield model.fault(change.file, change.key or EOS, message, _FIX, fixed=fix)
    if fix and stopping.changes:
        _write(model, stopping)


def _write(model: ModelFolder, stopping: Stopping) -> None:
    generation = parse(stopping.generation_config, CONFIG_BOUNDS).get(EOS) if stopping.generation_config else None
    for name, value in ((MODEL, stopping.eos_token_id), (GENERATION, generation)):
        data = model.json(name)
        if data is not None and value is not None and data.get(EOS) != value:
            model.rewrite(name, {**data, EOS: value})


def _completed(model: ModelFolder, turn_end: str | None) -> Stopping:
    # tokenizer.json has megabytes, and is read only where the smaller files leave something open.
    tokenizer = model.json(CONFIG) or {}
    listed = _decoder(tokenizer)
    wanted = {_text(tokenizer.get("eos_token")), turn_end} - {None}
    stopping = _stopping(model, None, turn_end)
    if stopping.changes or stopping.refusal or not wanted <= set(listed):
        stopping = _stopping(model, model.json(FAST), turn_end)
    return stopping


def _stopping(model: ModelFolder, fast: Mapping[str, object] | None, turn_end: str | None) -> Stopping:
    config = model.config or {}
    size = {} if fast or "vocab_size" in {**(config.get("text_config") or {}), **config} else {"vocab_size": _ANY_SIZE}
    return complete_stop_ids(
        {**config, **size},
        model.content(GENERATION),
        model.json(CONFIG) or {},
        fast,
        turn_end,
        chat=_chat(model) is not None,
    )


def _chat(model: ModelFolder) -> TokenizerInfo | None:
    """Return the tokenizer of a model that has a chat template and a list of tokens to find its marks in, else None."""
    if not _special(model):
        return None
    small = {path: data for path, data in model.tokenizer_files().items() if path.endswith(("_config.json", ".jinja"))}
    try:
        roles = {name: model.content(name) or b"" for name in {SPECIAL} & model.names}
        info = read_tokenizer(MemoryFiles({**small, **roles}))
    except Refused:
        return None  # mlx-chat-template tells what is wrong with it
    return info if "default" in info.templates else None


def _special(model: ModelFolder) -> frozenset[str]:
    """Return the texts of the tokens that stand for themselves, by the smaller file where it lists them."""
    special = _decoder(model.json(CONFIG) or {})
    if not special:
        added = (model.json(FAST) or {}).get("added_tokens")
        texts = (_text(token) for token in added) if isinstance(added, list) else ()
        special = [text for text in texts if text]
    return frozenset(special)


def _decoder(tokenizer: Mapping[str, object]) -> list[str]:
    listed = tokenizer.get("added_tokens_decoder")
    texts = (_text(token) for token in listed.values()) if isinstance(listed, Mapping) else ()
    return [text for text in texts if text]


def _text(token: object) -> str | None:
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else None


_RUN_FIX = "Run the hook with --fix."
# The vocabulary, in any of its forms; git may hold the small files of a model without it.
_VOCABULARY = re.compile(r"tokenizer\.json|.*\.model|.*\.tiktoken|vocab\.(json|txt)")
_STAND_INS = {FAST: b"{}", "tokenizer.model": b"", "spiece.model": b""}


def portability(model: ModelFolder, *, fix: bool) -> Iterator[Fault]:
    """Yield what keeps clients from loading the tokenizer; with `fix` it is mended."""
    if model.json(CONFIG) is None:
        return
    files = model.tokenizer_files()
    if not any(_VOCABULARY.fullmatch(path) for path in files):
        files |= _STAND_INS
    try:
        repaired = portable(files)
    except Refused as error:
        yield from faults_of(error, model.folder / CONFIG)
        return
    for change in repaired.changes:
        # A file that is not there yet has no line to point at, nor has a key.
        file = change.file if change.file in model.names else CONFIG
        key = change.key if change.key in (model.json(file) or {}) else ""
        message = change.message if fix else f"some clients cannot load it; --fix writes: {change.message}"
        yield model.fault(file, key, message, _RUN_FIX, fixed=fix)
    for name, data in repaired.files.items() if fix else ():
        if name in (CONFIG, SPECIAL) and name in model.names:
            model.rewrite(name, read_object(name, data))
        else:
            model.put(name, data)
