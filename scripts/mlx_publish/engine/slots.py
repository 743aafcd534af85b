"""Dialogues with pictures and sounds through two doors: the source's own tokenizer, and mlx-vlm's on what was made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from mlx_publish.chat.media import WITHOUT, dialogues
from mlx_publish.engine.loading import warnings_of_loading
from mlx_publish.engine.prompts import finished
from mlx_publish.engine.showing import Messages, Reader, default_of, reader_of, rendered, users_messages
from mlx_publish.engine.tokenizing import reference_of
from mlx_publish.evidence.measured import RenderedText
from mlx_publish.evidence.seen import USERS, Slots, SlotsRendered
from mlx_publish.text.progress import Tell

_LONGEST = 500  # characters of an error


def slots(
    folder: str, source: str, templates: Mapping[str, str], kinds: Sequence[str], progress: Tell
) -> SlotsRendered:
    """Render dialogues with media of some kinds by both; a source whose `templates` lie elsewhere is given them."""
    progress("rendering dialogues with pictures")
    theirs = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    template = default_of(theirs.chat_template) or templates.get("default")
    with warnings_of_loading() as warnings:
        made = reader_of(Path(folder))
    users = users_messages(made, WITHOUT, kinds[0])
    if template is None:
        return SlotsRendered({}, _way(users), template=False, warnings=warnings)
    asked = {name: messages for kind in kinds for name, messages in dialogues(kind).items()}
    if not isinstance(users, str):
        asked[USERS] = users
    calls: dict[str, Callable[[], str]] = {}
    for name, messages in asked.items():
        for words, given in (("", messages), (" without", without(messages))):
            calls[f"{name}, source{words}"] = partial(_theirs, theirs, template, given)
            calls[f"{name}, made{words}"] = partial(rendered, made, given, {})
    texts = finished(calls)
    encode = reference_of(Path(source))
    pairs = {
        name: Slots(
            _text(texts[f"{name}, source"], encode),
            _text(texts[f"{name}, made"], partial(_encode, made)),
            _plain(texts[f"{name}, source without"]),
            _plain(texts[f"{name}, made without"]),
        )
        for name in asked
    }
    return SlotsRendered(pairs, _way(users), warnings=warnings)


def without(messages: Messages) -> Messages:
    """Return messages without their media."""
    return [{**message, "content": _words(message["content"])} for message in messages]


def _words(content: Any) -> Any:
    """Return content without media; where mlx-vlm puts a token into the text, it is that of its question."""
    return [part for part in content if part.get("type") == "text"] if isinstance(content, list) else _asked(content)


def _asked(text: Any) -> Any:
    return WITHOUT if isinstance(text, str) and WITHOUT in text else text


def _theirs(tokenizer: Any, template: str, messages: Messages) -> str:
    # mlx-vlm turns thinking off where nobody asks for it, so the source is asked the same.
    text = tokenizer.apply_chat_template(
        messages, chat_template=template, add_generation_prompt=True, tokenize=False, enable_thinking=False
    )
    return str(text)


def _encode(reader: Reader, text: str) -> list[int]:
    return [int(id_) for id_ in reader.tokenizer.encode(text, add_special_tokens=False)]


def _text(text: str | Exception, encode: Callable[[str], Sequence[int]]) -> RenderedText:
    if isinstance(text, Exception):
        return RenderedText(error=f"{text}"[:_LONGEST])
    try:
        return RenderedText(text, [int(id_) for id_ in encode(text)])
    except Exception as error:  # noqa: BLE001  half a character, as a template may write it, is no text
        return RenderedText(error=f"{error}"[:_LONGEST])


def _plain(text: str | Exception) -> str:
    return "" if isinstance(text, Exception) else text


def _way(users: Messages | str) -> str:
    """Return how mlx-vlm writes a medium into the message of a user."""
    content = users if isinstance(users, str) else users[-1].get("content")
    if isinstance(content, str):
        return "text" if content != WITHOUT else "none"
    kinds = {part.get("type") for part in content if isinstance(part, dict)} if isinstance(content, list) else set()
    return "parts" if kinds - {"text"} else "none"
