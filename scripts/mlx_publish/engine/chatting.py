"""The chat template through two doors: transformers on the source, mlx-lm on what was made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlx_lm.utils import load_tokenizer as load_mlx_tokenizer
from transformers import AutoTokenizer

from mlx_publish.engine.loading import warnings_of_loading
from mlx_publish.engine.prompts import finished
from mlx_publish.engine.questions import Questions, prompts
from mlx_publish.engine.tokenizing import reference_of

SWITCH = "enable_thinking"
Text = dict[str, Any]
"""`text` and `ids`, or `error`."""


def chat(
    folder: str, source: str, templates: Mapping[str, str], dialogues: Sequence[Mapping[str, Any]],
    questions: Questions, progress: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Render dialogues by both, by a clock that stands still, and the prompts of `questions` by mlx-lm.

    A source whose `templates` stand where tokenizers do not look is given them.

    A dialogue has `name`, `messages`, `tools`, `options` and `generation`. Returns the `warnings` of loading,
    `thinks` (what mlx-lm gives as enable_thinking where the caller gives nothing), and for each dialogue `source` and
    `made`: `text` and `ids`, or `error`; `by_default` where they agree once the source is given that switch too.
    `prompts` are those of `questions.prompts`.
    """
    progress("rendering the dialogues")
    theirs = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    theirs.chat_template = theirs.chat_template or dict(templates)
    with warnings_of_loading() as said:
        made = load_mlx_tokenizer(Path(folder), {"trust_remote_code": False})
        thinks = bool(made.has_thinking)
        ways = {entry["name"]: dict(_ways(entry, theirs, made, thinks=thinks)) for entry in dialogues}
        calls = {f"dialogue {name!r}, {way}": call for name, found in ways.items() for way, call in found.items()}
        asked = prompts(made, questions)
        texts = finished({**calls, **asked.calls})
    encode = reference_of(Path(source))

    def told(name: str, way: str) -> Text:
        """A text's ids are of the source by its own tokenizer.json, which a class may read differently."""
        found = texts[f"dialogue {name!r}, {way}"]
        if isinstance(found, Exception):
            return {"error": f"{found}"[:500]}
        text, ids = found
        try:
            return {"text": text, "ids": [int(id_) for id_ in (encode(text) if ids is None else ids)]}
        except Exception as error:  # noqa: BLE001  half a character, as a template may write it, is no text
            return {"error": f"{error}"[:500]}

    rendered = {name: _agreeing({way: told(name, way) for way in found}) for name, found in ways.items()}
    return {"warnings": said, "thinks": thinks, "rendered": rendered, "prompts": asked.of(texts)}


def _ways(
    entry: Mapping[str, Any], theirs: Any, made: Any, *, thinks: bool
) -> Iterator[tuple[str, Callable[[], tuple[str, Any]]]]:
    """Yield what renders a dialogue: the source's, the same with mlx-lm's switch, and what was made of it."""
    options = dict(entry["options"])
    yield "source", lambda: (_text(entry, theirs, options), None)
    if SWITCH not in options:
        yield "switched", lambda: (_text(entry, theirs, {**options, SWITCH: thinks}), None)
    # Text and ids in one call each, as users make them.
    yield "made", lambda: (_text(entry, made, options), made.apply_chat_template(**_arguments(entry), **options))


def _agreeing(found: dict[str, Text]) -> dict[str, Any]:
    """What was switched is told only where it explains a difference."""
    switched = found.pop("switched", None)
    different = found["source"] != found["made"]
    return {**found, "by_default": True} if different and switched == found["made"] else found


def _text(entry: Mapping[str, Any], tokenizer: Any, options: Mapping[str, Any]) -> str:
    return str(tokenizer.apply_chat_template(**_arguments(entry), tokenize=False, **options))


def _arguments(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "conversation": [dict(message) for message in entry["messages"]],
        "tools": entry["tools"],
        "add_generation_prompt": entry["generation"],
    }
