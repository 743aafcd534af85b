"""Code for the card that does what the smoke test did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlx_publish.card.markdown import quoted

FOLDED = "# The chat template takes no system text, so it goes in front of the first user turn."
OWN_TURN = "# The chat template takes no system text, so it is a user turn of its own."


def snippet(load_as: str, smoke: Mapping[str, Any] | None) -> str:
    """Python that loads the model and answers the smoke test's question.

    Where the chat template takes no system text, it is folded exactly as it was in the test.
    """
    lines = ["from mlx_lm import generate, load", "", f"model, tokenizer = load({quoted(load_as)})", ""]
    lines += _prompt(smoke) if smoke else ['prompt = "Hello"']
    return "\n".join([*lines, "", "text = generate(model, tokenizer, prompt=prompt, max_tokens=256, verbose=True)"])


def _prompt(smoke: Mapping[str, Any]) -> list[str]:
    exchange = smoke["exchange"]
    if not smoke["chat_template"]:
        return [f"prompt = {quoted(exchange['rendered'])}"]
    return [*_messages(smoke, exchange["messages"]), _rendering(smoke["options"])]


def _messages(smoke: Mapping[str, Any], messages: list[Mapping[str, Any]]) -> list[str]:
    if smoke["system"] == "first-user":
        return [
            f"system = {quoted(smoke['asked']['system'])}",
            f"question = {quoted(smoke['asked']['prompt'])}",
            FOLDED,
            'messages = [{"role": "user", "content": f"{system}\\n\\n{question}"}]',
        ]
    turns = [f'    {{"role": {quoted(m["role"])}, "content": {quoted(m["content"])}}},' for m in messages]
    return [*([OWN_TURN] if smoke["system"] == "own-turn" else []), "messages = [", *turns, "]"]


def _rendering(options: Mapping[str, Any]) -> str:
    more = "".join(f", {name}={value!r}" for name, value in options.items())
    return f"prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True{more})"
