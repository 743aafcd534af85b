"""What templates in the manner of well-known models can do, and the golden record of all that they make of dialogues.

To write the golden files anew: `MLX_PUBLISH_GOLDEN=write pytest tests/chat/test_capabilities.py`.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from chat_samples import MANNERS
from mlx_publish.chat.capabilities import Capabilities, capabilities
from mlx_publish.chat.dialogues import probes
from mlx_publish.chat.look import Look, look
from mlx_publish.checks.base import run_checks
from mlx_publish.checks.template import TEMPLATE
from mlx_publish.checks.template_facts import TemplateFacts
from tiny_tokenizer import CHATML, write_json

GOLDEN = Path(__file__).parents[1] / "chat" / "golden"
USUAL: dict[str, Any] = {
    "system": "native",
    "two_users": "kept",
    "assistant_first": "kept",
    "tools": "ignored",
    "tool_calls": {"mapping": "lost", "string": "lost"},
    "tool_results": "shown",
    "thinking": "none",
    "thinking_unset": "",
    "reasoning": {"field": "dropped", "text": "kept"},
    "parts": "refused",
    "begin_token": "",
    "date": "none",
    "generation_prompt": "<|im_start|>assistant\n",
    "turn_end": "<|im_end|>\n",
    "system_later": "kept",
    "developer": "kept",
    "calls": {"call without text": "refused", "two calls": "lost", "two rounds": "lost"},
    "tool_forms": dict.fromkeys(
        ("tool without description", "tool without parameters", "type as a list", "anyOf"), "lost"
    ),
    "system_parts": "refused",
    "result_parts": "refused",
    "switches": {},
}
LISTED = dict.fromkeys(USUAL["tool_forms"], "listed")
SHOWN = dict.fromkeys(USUAL["calls"], "shown")
STRICT = {"two_users": "refused", "assistant_first": "refused", "system_later": "refused", "developer": "refused"}
ESCAPED = {
    "tools": "listed",
    "tool_calls": {"mapping": "shown", "string": "escaped"},
    "tool_forms": LISTED,
    "calls": SHOWN,
}
REFUSED = dict.fromkeys(USUAL["calls"], "refused")
# In which a manner differs from plain ChatML.
OWN: dict[str, dict[str, Any]] = {
    "chatml": {},
    "danube2": {
        "system": "refused", "tool_results": "lost", "generation_prompt": "<|answer|>", "turn_end": "</s>",
        "system_later": "refused", "developer": "lost", "result_parts": "lost",
    },
    "gemma2": {
        "system": "refused", **STRICT, "tool_calls": {"mapping": "refused", "string": "refused"},
        "tool_results": "refused", "parts": "printed", "begin_token": "<bos>", "calls": REFUSED,
        "generation_prompt": "<start_of_turn>model\n", "turn_end": "<end_of_turn>\n",
    },
    "mistral": {
        "system": "merged", **STRICT, **ESCAPED, "begin_token": "<s>", "generation_prompt": "", "turn_end": "</s>",
        "result_parts": "printed",
    },
    # Its begin token is the mark that begins every turn.
    "smollm2": {"begin_token": "<|im_start|>"},
    "llama3": {
        **ESCAPED, "parts": "printed", "begin_token": "<|begin_of_text|>", "date": "clock",
        "calls": {**SHOWN, "two calls": "refused"}, "system_parts": "printed", "result_parts": "printed",
        "generation_prompt": "<|start_header_id|>assistant<|end_header_id|>\n\n", "turn_end": "<|eot_id|>",
    },
    "qwen3": {
        "tools": "listed", "tool_calls": {"mapping": "shown", "string": "shown"}, "thinking": "switch",
        "thinking_unset": "on", "reasoning": {"field": "dropped", "text": "dropped"}, "parts": "lost",
        "developer": "lost", "calls": SHOWN, "tool_forms": LISTED, "result_parts": "lost",
    },
    "phi3": {
        "tool_results": "lost", "generation_prompt": "<|assistant|>\n", "turn_end": "<|end|>\n<|endoftext|>",
        "developer": "lost", "result_parts": "lost",
    },
    "deepseek_r1": {
        "reasoning": {"field": "dropped", "text": "dropped"},
        "begin_token": "<\uff5cbegin\u2581of\u2581sentence\uff5c>",
        "generation_prompt": "<\uff5cAssistant\uff5c><think>\n", "turn_end": "<\uff5cend\u2581of\u2581sentence\uff5c>",
        "developer": "lost", "system_parts": "printed",
    },
    "solar": {
        "tool_results": "lost", "generation_prompt": "### Assistant:\n", "turn_end": "\n\n", "developer": "lost",
        "result_parts": "lost",
    },
    "command_a": {
        **ESCAPED, "parts": "printed", "begin_token": "<BOS_TOKEN>", "generation_prompt": "",
        "turn_end": "<|END_RESPONSE|><|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        "tool_forms": {
            "tool without description": "listed", "tool without parameters": "refused", "type as a list": "untyped",
            "anyOf": "untyped",
        },
        "system_parts": "printed", "result_parts": "printed",
    },
    "kimi_k2": {
        "tools": "listed", "tool_calls": {"mapping": "refused", "string": "refused"}, "tool_results": "refused",
        "calls": REFUSED, "tool_forms": LISTED, "parts": "shown", "system_parts": "shown", "thinking": "other",
        "switches": {"thinking": [True]}, "generation_prompt": "<|im_assistant|>assistant<|im_middle|>",
        "turn_end": "<|im_end|>",
    },
}  # fmt: skip
# The checks that do not pass without a conversion, besides those that are always skipped then.
SKIPPED = {"template-same": "skip", "other-engines": "skip"}
WARNED = {
    "danube2": {"system-role", "known-tokens", "roles"},
    "gemma2": {"system-role"},
    "mistral": {"grows"},
    "llama3": {"tools"},
    **{manner: {"roles"} for manner in ("qwen3", "phi3", "deepseek_r1", "solar")},
    **{manner: {"tools"} for manner in ("command_a", "kimi_k2")},
}


@functools.cache
def seen_in(manner: str) -> Look:
    return look({"default": MANNERS[manner].template}, MANNERS[manner].names)


def facts_of(manner: str) -> TemplateFacts:
    view, chosen = seen_in(manner), MANNERS[manner]
    can = capabilities(view)
    way = "native" if can.system in ("native", "merged") else "first-user"
    return TemplateFacts(view, can, frozenset((*chosen.special, *chosen.plain)), way)


def record(manner: str) -> dict[str, Any]:
    """All that is found out about a manner; prompts are told by their lines, which read better in JSON."""
    facts = facts_of(manner)
    assert facts.capabilities
    rendered = seen_in(manner).rendered.items()
    return {
        "capabilities": facts.capabilities.to_json(),
        "findings": {finding.id: finding.status for finding in run_checks(TEMPLATE, facts)},
        "dialogues": {
            name: {"error": rendering.error, "kind": rendering.kind}
            if rendering.text is None
            else rendering.text.splitlines(keepends=True)
            for name, rendering in rendered
        },
    }


@pytest.mark.parametrize("manner", MANNERS)
def test_the_record_is_the_golden_one(manner: str) -> None:
    current, golden = record(manner), GOLDEN / f"{manner}.json"
    if os.environ.get("MLX_PUBLISH_GOLDEN") == "write":
        write_json(golden, current)
    assert current == json.loads(golden.read_text(encoding="utf-8"))


def test_there_is_no_golden_record_of_nobody() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(MANNERS) == set(OWN)


@pytest.mark.parametrize("manner", MANNERS)
def test_what_a_manner_can_do(manner: str) -> None:
    assert capabilities(seen_in(manner)).to_json() == {**USUAL, **OWN[manner]}


@pytest.mark.parametrize("manner", MANNERS)
def test_what_is_said_of_a_manner(manner: str) -> None:
    odd = {f.id: f.status for f in run_checks(TEMPLATE, facts_of(manner)) if f.status != "pass"}
    assert odd == SKIPPED | dict.fromkeys(WARNED.get(manner, ()), "warn")


def test_every_dialogue_is_shown_to_every_template() -> None:
    names = [probe.name for probe in probes()]
    assert len(names) == len(set(names))
    assert all(list(seen_in(manner).rendered)[: len(names)] == names for manner in MANNERS)


def test_a_template_is_asked_with_each_value_of_its_own_switches() -> None:
    assert [probe.name for probe in seen_in("kimi_k2").switched] == ["thinking=true", "thinking=false"]
    assert all(not seen_in(manner).switched for manner in set(MANNERS) - {"kimi_k2"})


def test_the_clock_of_the_dialogues_stands_still() -> None:
    assert "Today Date: 01 Mar 2026\n" in (seen_in("llama3").text("user") or "")
    assert "Today Date: 23 Nov 2027\n" in (seen_in("llama3").later["user"].text or "")


def of(template: str, **special: str) -> Capabilities:
    return capabilities(look({"default": template}, special))


CALLS = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}"
    "{% for call in m.tool_calls or [] %}{{ ARGUMENTS }}{% endfor %}\n{% endfor %}{{ tools | tojson }}"
)
WITHIN = (
    "{% for m in messages if m.role != 'system' %}<{{ m.role }}>"
    "{{ messages[0].content ~ '\n' if loop.first and messages[0].role == 'system' }}{{ m.content }}{% endfor %}"
)
# What is changed in ChatML, and the field that tells it.
CHANGED: dict[str, tuple[str, str, object]] = {
    "the system text is left out": (
        CHATML.replace("in messages %}", "in messages if message.role != 'system' %}"),
        "system",
        "lost",
    ),
    "the question is lost behind a system text": (
        "{% for m in messages[:1] %}<{{ m.role }}>{{ m.content }}{% endfor %}",
        "system",
        "lost",
    ),
    "the system text in front of the first question": (
        "{% for m in messages %}{{ m.content ~ '\n\n' if m.role == 'system' else '[' ~ m.content ~ ']' }}{% endfor %}",
        "system",
        "native",
    ),
    "the system text within the first question": (
        WITHIN,
        "system",
        "merged",
    ),
    "only the last turn": ("{{ messages[-1].role }}: {{ messages[-1].content }}", "two_users", "lost"),
    "the assistant left out": (
        CHATML.replace("in messages %}", "in messages if message.role != 'assistant' %}"),
        "assistant_first",
        "lost",
    ),
    "tools refused": ("{{ raise_exception('no tools') if tools }}" + CHATML, "tools", "refused"),
    # jinja forgives a missing key, and an argument that is none of the kind that was thought of it does not.
    "arguments as a mapping alone": (
        CALLS.replace("ARGUMENTS", "call.function.arguments.items() | list"),
        "tool_calls",
        {"mapping": "shown", "string": "refused"},
    ),
    "arguments as a string alone": (
        CALLS.replace("ARGUMENTS", "'> ' + call.function.arguments"),
        "tool_calls",
        {"mapping": "refused", "string": "shown"},
    ),
    "the result where arguments are a string": (
        CALLS.replace("ARGUMENTS", "'> ' + call.function.arguments"),
        "tool_results",
        "shown",
    ),
    "reasoning kept": (
        CHATML.replace("message['content']", "(message.reasoning_content or '') + message['content']"),
        "reasoning",
        {"field": "kept", "text": "kept"},
    ),
    "answers refused": (
        CHATML.replace("{{ '<", "{{ raise_exception('no') if message.role == 'assistant' }}{{ '<", 1),
        "reasoning",
        {"field": "refused", "text": "refused"},
    ),
    "answers lost": (
        CHATML.replace("in messages %}", "in messages if message.role != 'assistant' %}"),
        "reasoning",
        {"field": "lost", "text": "lost"},
    ),
    "parts shown": (
        "{% for m in messages %}{{ m.content if m.content is string else m.content[0].text }}{% endfor %}",
        "parts",
        "shown",
    ),
    "parts printed as JSON": ("{% for m in messages %}{{ m.content | tojson }}{% endfor %}", "parts", "printed"),
    "thinking that is off unless asked for": (
        CHATML + "{{ '<think>' if enable_thinking }}",
        "thinking_unset",
        "off",
    ),
    "thinking that is neither unless asked for": (
        CHATML + "{{ ('<think>' if enable_thinking else '</think>') if enable_thinking is defined }}",
        "thinking_unset",
        "own",
    ),
    "the hour alone": (CHATML + "{{ strftime_now('%H') }}", "date", "clock"),
    "the day where there are tools": (CHATML + "{{ strftime_now('%d') if tools }}", "date", "clock"),
    "nothing renders": ("{{ raise_exception('no') }}", "turn_end", ""),
}


@pytest.mark.parametrize("case", CHANGED)
def test_what_a_change_of_a_template_changes(case: str) -> None:
    template, field, value = CHANGED[case]
    assert of(template).to_json()[field] == value


def test_a_begin_token_counts_where_the_template_begins_with_it() -> None:
    assert of("{{ bos_token }}" + CHATML, bos_token="<s>").begin_token == "<s>"
    assert of(CHATML + "{{ bos_token }}", bos_token="<s>").begin_token == ""
    assert of("{{ bos_token }}" + CHATML).begin_token == ""


def test_a_template_that_refuses_everything_can_nothing() -> None:
    can = of("{{ raise_exception('no') }}").to_json()
    assert {can[key] for key in ("system", "two_users", "assistant_first", "tools", "tool_results", "parts")} == {
        "refused"
    }
    assert (can["thinking"], can["generation_prompt"], can["date"]) == ("none", "", "none")
