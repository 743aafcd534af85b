"""Python for the card that does what the smoke test did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlx_publish.evidence.measurements import Message, SmokeSpec
from mlx_publish.text.markdown import quoted

FOLDED = "# The chat template has no system role: fold the system prompt into the first user message."
OWN_TURN = "# The chat template has no system role: send the system prompt as a user message of its own."
TOOLS = """\
tools = [
    {
        "type": "function",
        "function": {
            "name": "eclipse_times",
            "description": "Tells when an eclipse begins and ends at a place.",
            "parameters": {
                "type": "object",
                "properties": {"date": {"type": "string"}, "place": {"type": "string"}},
                "required": ["date", "place"],
            },
        },
    }
]
messages = [{"role": "user", "content": "When does the eclipse of 2026-08-12 begin in Oviedo?"}]
"""


def snippet(load_as: str, smoke: SmokeSpec | None) -> str:
    """Return Python that loads the model and answers the smoke test's question.

    Where the chat template takes no system text, it is folded exactly as it was in the test.
    """
    lines = ["from mlx_lm import generate, load", "", f"model, tokenizer = load({quoted(load_as)})", ""]
    if smoke is None:
        lines.append('prompt = "Hello"')
    elif smoke.chat_template:
        options = {name: repr(value) for name, value in smoke.options.items()}
        lines += [*_messages(smoke, smoke.exchange.messages), _rendering(options)]
    else:
        lines.append(f"prompt = {quoted(smoke.exchange.rendered)}")
    return "\n".join([*lines, "", "text = generate(model, tokenizer, prompt=prompt, max_tokens=256, verbose=True)"])


def tools_snippet(smoke: SmokeSpec | None) -> str:
    """Return Python that goes on from there and offers a tool; empty where the chat template lists none."""
    if smoke is None or not smoke.lists_tools:
        return ""
    prompt = _rendering({"tools": "tools", **{name: repr(value) for name, value in smoke.options.items()}})
    return f"{TOOLS}{prompt}\n\ntext = generate(model, tokenizer, prompt=prompt, max_tokens=256, verbose=True)"


def _messages(smoke: SmokeSpec, messages: Sequence[Message]) -> list[str]:
    if smoke.system == "first-user":
        return [
            f"system = {quoted(smoke.asked['system'])}",
            f"question = {quoted(smoke.asked['prompt'])}",
            FOLDED,
            'messages = [{"role": "user", "content": f"{system}\\n\\n{question}"}]',
        ]
    turns = [f'    {{"role": {quoted(turn.role)}, "content": {quoted(turn.content)}}},' for turn in messages]
    return [*([OWN_TURN] if smoke.system == "own-turn" else []), "messages = [", *turns, "]"]


def _rendering(options: Mapping[str, str]) -> str:
    more = "".join(f", {name}={value}" for name, value in options.items())
    return f"prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True{more})"
