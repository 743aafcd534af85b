"""The smoke test: render the chat template, answer a question, keep what was said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jinja2 import TemplateError
from mlx_lm import stream_generate

from mlx_publish.engine.loading import load_model, warnings_of_loading

Messages = list[dict[str, str]]


def smoke(folder: str, system: str, prompt: str, max_tokens: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Load the converted model, probe its chat template and generate one greedy answer.

    Returns the warnings of loading, the rendered probes, which way the system text takes (`native`,
    `folded` or `none`), and the exchange with its tokens and the reason for which it stopped.
    """
    progress("loading")
    with warnings_of_loading() as said:
        model, tokenizer, computed_in = load_model(folder)
    probes = _probes(tokenizer, system, prompt) if tokenizer.has_chat_template else {}
    role = _system_role(probes, system)
    messages = _messages(role, system, prompt)
    rendered = _render(tokenizer, messages).get("text", "") if probes else prompt
    progress("answering")
    ids = tokenizer.encode(rendered, add_special_tokens=not probes)
    return {
        "warnings": said,
        "chat_template": bool(probes),
        "system_role": role,
        "probes": probes,
        "computed_in": computed_in,
        "stop_ids": sorted(tokenizer.eos_token_ids),
        "vocabulary": 1 + max(tokenizer.get_vocab().values(), default=-1),
        "exchange": {
            "messages": messages,
            "rendered": rendered,
            **_answer(model, tokenizer, ids, max_tokens),
        },
    }


def fold(system: str, prompt: str) -> str:
    """Put the system text in front of the first user text, as the card's snippet does."""
    return f"{system}\n\n{prompt}"


def _probes(tokenizer: Any, system: str, prompt: str) -> dict[str, dict[str, str]]:
    turns = [
        {"role": "user", "content": "What is an eclipse?"},
        {"role": "assistant", "content": "One body moves into the shadow of another."},
        {"role": "user", "content": prompt},
    ]
    dialogues: dict[str, Messages] = {
        "system+user": [{"role": "system", "content": system}, {"role": "user", "content": prompt}],
        "user": [{"role": "user", "content": prompt}],
        "several turns": turns,
    }
    return {name: _render(tokenizer, messages) for name, messages in dialogues.items()}


def _render(tokenizer: Any, messages: Messages) -> dict[str, str]:
    try:
        return {"text": tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)}
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _system_role(probes: dict[str, dict[str, str]], system: str) -> str:
    """`native` where the template takes the role, `folded` where it refuses or drops it."""
    if not probes:
        return "none"
    return "native" if system.strip() in probes["system+user"].get("text", "") else "folded"


def _messages(role: str, system: str, prompt: str) -> Messages:
    if role == "native":
        return [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
    return [{"role": "user", "content": fold(system, prompt) if role == "folded" else prompt}]


def _answer(model: Any, tokenizer: Any, ids: Sequence[int], max_tokens: int) -> dict[str, Any]:
    """Generate greedily. `stop` is `stop` (on a stop id) or `length`."""
    text, tokens, last = "", [], None
    for last in stream_generate(model, tokenizer, list(ids), max_tokens=max_tokens):
        text += last.text
        tokens.append(int(last.token))
    stop = last.finish_reason if last else "length"
    return {
        "answer": text,
        "tokens": tokens,
        "prompt_tokens": len(ids),
        "stop": stop,
        "stop_id": tokens[-1] if tokens and stop == "stop" else None,
    }
