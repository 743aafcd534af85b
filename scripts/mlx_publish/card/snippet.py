"""Code for the card that does what the smoke test did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlx_publish.card.markdown import quoted


def snippet(load_as: str, smoke: Mapping[str, Any] | None) -> str:
    """Python that loads the model and answers the smoke test's question.

    Where the chat template has no system role, it folds the system text exactly as the test did.
    """
    lines = ["from mlx_lm import generate, load", "", f"model, tokenizer = load({quoted(load_as)})", ""]
    lines += _prompt(smoke) if smoke else ['prompt = "Hello"']
    return "\n".join([*lines, "", "text = generate(model, tokenizer, prompt=prompt, max_tokens=256, verbose=True)"])


def _prompt(smoke: Mapping[str, Any]) -> list[str]:
    exchange = smoke["exchange"]
    if not smoke["chat_template"]:
        return [f"prompt = {quoted(exchange['rendered'])}"]
    if smoke["system_role"] == "folded":
        lines = [
            f"system = {quoted(smoke['asked']['system'])}",
            f"question = {quoted(smoke['asked']['prompt'])}",
            "# The chat template has no system role, so the system text goes in front of the first user turn.",
            'messages = [{"role": "user", "content": f"{system}\\n\\n{question}"}]',
        ]
    else:
        turns = [
            f'    {{"role": {quoted(m["role"])}, "content": {quoted(m["content"])}}},' for m in exchange["messages"]
        ]
        lines = ["messages = [", *turns, "]"]
    return [*lines, "prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)"]
