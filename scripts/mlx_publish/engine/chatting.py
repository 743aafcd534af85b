"""The chat template through two doors: transformers on the source, mlx-lm on what was made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from mlx_publish.engine.backends import backend
from mlx_publish.engine.loading import warnings_of_loading
from mlx_publish.engine.prompts import finished
from mlx_publish.engine.questions import prompts
from mlx_publish.engine.tokenizing import reference_of
from mlx_publish.evidence.measured import ChatRendered, Dialogue, DialogueOrder, Question, RenderedText
from mlx_publish.text.progress import Tell

SWITCH = "enable_thinking"


def chat(
    folder: str,
    source: str,
    templates: Mapping[str, str],
    dialogues: Sequence[dict[str, Any]],
    questions: Sequence[dict[str, Any]],
    progress: Tell,
) -> ChatRendered:
    """Render dialogues by both, by a clock that stands still, and the prompts of `questions` by mlx-lm.

    `dialogues` are the fields of a `DialogueOrder` each, `questions` those of a `Question`. A source whose `templates`
    stand where tokenizers do not look is given them.
    """
    progress("rendering the dialogues")
    theirs = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    theirs.chat_template = theirs.chat_template or dict(templates)
    with warnings_of_loading() as warnings:
        made = backend().load_tokenizer(Path(folder))
        thinks = bool(made.has_thinking)
        orders = [DialogueOrder(**dialogue) for dialogue in dialogues]
        ways = {order.name: dict(_ways(order, theirs, made, thinks=thinks)) for order in orders}
        calls = {f"dialogue {name!r}, {way}": call for name, of in ways.items() for way, call in of.items()}
        asked = prompts(made, [Question(**question) for question in questions])
        texts = finished({**calls, **asked.calls})
    encode = reference_of(Path(source))

    def rendered(name: str, way: str) -> RenderedText:
        """Return text and ids; the source's are of its own tokenizer.json, which a class may read differently."""
        made_text = texts[f"dialogue {name!r}, {way}"]
        if isinstance(made_text, Exception):
            return RenderedText(error=f"{made_text}"[:500])
        text, ids = made_text
        try:
            return RenderedText(text, [int(id_) for id_ in (encode(text) if ids is None else ids)])
        except Exception as error:  # noqa: BLE001  half a character, as a template may write it, is no text
            return RenderedText(error=f"{error}"[:500])

    pairs = {}
    for name, of in ways.items():
        by = {way: rendered(name, way) for way in of}
        # What was switched counts only where it explains a difference.
        by_default = by["source"] != by["made"] and by.get("switched") == by["made"]
        pairs[name] = Dialogue(by["source"], by["made"], by_default=by_default)
    return ChatRendered(thinks, pairs, asked.of(texts), warnings)


def _ways(
    order: DialogueOrder, theirs: Any, made: Any, *, thinks: bool
) -> Iterator[tuple[str, Callable[[], tuple[str, Any]]]]:
    """Yield what renders a dialogue: the source's, the same with mlx-lm's switch, and what was made of it."""
    options = dict(order.options)
    yield "source", lambda: (_text(order, theirs, options), None)
    if SWITCH not in options:
        yield "switched", lambda: (_text(order, theirs, {**options, SWITCH: thinks}), None)
    # Text and ids in one call each, as users make them.
    yield "made", lambda: (_text(order, made, options), made.apply_chat_template(**_arguments(order), **options))


def _text(order: DialogueOrder, tokenizer: Any, options: Mapping[str, object]) -> str:
    return str(tokenizer.apply_chat_template(**_arguments(order), tokenize=False, **options))


def _arguments(order: DialogueOrder) -> dict[str, Any]:
    return {
        "conversation": [dict(message) for message in order.messages],
        "tools": order.tools,
        "add_generation_prompt": order.generation,
    }
