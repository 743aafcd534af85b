"""The chat template through two doors: transformers on the source, mlx-lm on what was made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mlx_lm.utils import load_tokenizer as load_mlx_tokenizer
from transformers import AutoTokenizer

from mlx_publish.engine.clock import fixed_clock
from mlx_publish.engine.loading import warnings_of_loading
from mlx_publish.engine.tokenizing import Encode, reference_of

SWITCH = "enable_thinking"


def chat(
    folder: str, source: str, templates: Mapping[str, str], dialogues: Sequence[Mapping[str, Any]], now: str,
    progress: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Render dialogues by both, at the time `now` (ISO format).

    A source whose `templates` stand where tokenizers do not look is given them.

    A dialogue has `name`, `messages`, `tools`, `options` and `generation`. Returns the `warnings` of loading,
    `thinks` (what mlx-lm gives as enable_thinking where the caller gives nothing), and for each dialogue `source` and
    `made`: `text` and `ids`, or `error`; `by_default` where they agree once the source is given that switch too.
    """
    progress("rendering the dialogues")
    theirs = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    theirs.chat_template = theirs.chat_template or dict(templates)
    encode = reference_of(Path(source))
    with warnings_of_loading() as said, fixed_clock(datetime.fromisoformat(now)):
        made = load_mlx_tokenizer(Path(folder), {"trust_remote_code": False})
        rendered = {entry["name"]: _both(entry, theirs, made, encode) for entry in dialogues}
    return {"warnings": said, "thinks": bool(made.has_thinking), "rendered": rendered}


def _both(entry: Mapping[str, Any], theirs: Any, made: Any, encode: Encode) -> dict[str, Any]:
    options = dict(entry["options"])
    found = {"source": _by_source(entry, theirs, options, encode), "made": _by_mlx_lm(entry, made, options)}
    if found["source"] == found["made"] or SWITCH in options:
        return found
    switched = _by_source(entry, theirs, {**options, SWITCH: bool(made.has_thinking)}, encode)
    return {**found, "by_default": True} if switched == found["made"] else found


def _by_source(entry: Mapping[str, Any], theirs: Any, options: Mapping[str, Any], encode: Encode) -> dict[str, Any]:
    """The text by transformers, its ids by the source's own tokenizer.json, which a class may read differently."""
    found = _text(entry, theirs, options)
    return {**found, "ids": encode(found["text"])} if "text" in found else found


def _by_mlx_lm(entry: Mapping[str, Any], made: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The text, and the ids as mlx-lm's users get them: in one call."""
    found = _text(entry, made, options)
    if "text" not in found:
        return found
    ids = made.apply_chat_template(**_arguments(entry), tokenize=True, **options)
    return {**found, "ids": [int(id_) for id_ in ids]}


def _text(entry: Mapping[str, Any], tokenizer: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {"text": str(tokenizer.apply_chat_template(**_arguments(entry), tokenize=False, **options))}
    except Exception as error:  # noqa: BLE001  a template may raise anything
        return {"error": f"{error}"[:500]}


def _arguments(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "conversation": [dict(message) for message in entry["messages"]],
        "tools": entry["tools"],
        "add_generation_prompt": entry["generation"],
    }
