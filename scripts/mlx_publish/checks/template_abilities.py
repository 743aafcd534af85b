"""Judgements about what a chat template can do: orders of turns, roles, thinking, tools, content in parts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from mlx_publish.chat.capabilities import Capabilities
from mlx_publish.chat.look import Look
from mlx_publish.checks.base import Check, Says, passed, warned
from mlx_publish.checks.template_facts import TemplateFacts, needs_template


@needs_template
def _turns(_facts: TemplateFacts, _look: Look, capabilities: Capabilities) -> Says:
    orders = {
        "two user turns in a row": capabilities.two_users,
        "an assistant's turn first": capabilities.assistant_first,
    }
    if lost := [what for what, how in orders.items() if how == "lost"]:
        return warned(f"{' and '.join(lost)}: texts vanish without an error")
    if refused := [what for what, how in orders.items() if how == "refused"]:
        are = "is" if len(refused) == 1 else "are"
        return passed(f"turns alternate strictly: {' and '.join(refused)} {are} refused")
    return passed("turns may come in any order")


@needs_template
def _roles(_facts: TemplateFacts, _look: Look, capabilities: Capabilities) -> Says:
    roles = {"a system text in the middle": capabilities.system_later, "the role developer": capabilities.developer}
    ways = {"kept": "is kept", "refused": "is refused", "lost": "vanishes without an error"}
    message = "; ".join(f"{what} {ways[how]}" for what, how in roles.items())
    return warned(message) if "lost" in roles.values() else passed(message)


@needs_template
def _thinking(facts: TemplateFacts, _look: Look, capabilities: Capabilities) -> Says:
    others = _switches(capabilities.switches)
    if capabilities.thinking != "switch":
        return passed(others or "there is no thinking switch")
    unset = capabilities.thinking_unset or "own"
    message = f"enable_thinking switches thinking; unset it is {'neither on nor off' if unset == 'own' else unset}"
    message = f"{message}; {others}" if others else message
    if facts.chat is None:
        return passed(message)
    sets = "on" if facts.chat.thinks else "off"
    if unset != sets:
        return warned(f"{message} in transformers, and {sets} in {facts.library}, which sets the switch by itself")
    return passed(f"{message}, in {facts.library} too")


@needs_template
def _tools(_facts: TemplateFacts, look: Look, capabilities: Capabilities) -> Says:
    if capabilities.tools != "listed":
        message = "the template does not support tools"
        return passed(message if capabilities.tools == "ignored" else f"{message} and refuses them")
    forms = [f"arguments as a {form} are {how}" for form, how in capabilities.tool_calls.items()]
    message = f"tools are listed; {'; '.join(forms)}; results are {capabilities.tool_results}"
    worst = min(capabilities.tool_calls.values(), key=_WORSE.index)
    odd = [f"{_CALLS[name]} {how}" for name, how in capabilities.calls.items() if how not in ("shown", worst)]
    odd += [
        f"{_TOOLS[name]} {_UNTYPED.get(how, f'is {how}')}"
        for name, how in capabilities.tool_forms.items()
        if how != "listed"
    ]
    if worst == "refused":
        odd.insert(0, f"calls are refused: {look.rendered['call, mapping'].error}")
    wrong = all(how != "shown" for how in capabilities.tool_calls.values())
    return warned("; ".join((message, *odd)), odd=odd) if odd or wrong else passed(message)


@needs_template
def _parts(_facts: TemplateFacts, _look: Look, capabilities: Capabilities) -> Says:
    ways = {
        "content": capabilities.parts,
        "a system text": capabilities.system_parts,
        "a tool's result": capabilities.result_parts,
    }
    if capabilities.tools != "listed":
        del ways["a tool's result"]
    joined = "" if set(ways.values()) == {"shown"} else "; servers join the parts first"
    return passed("; ".join(f"{what} as a list of parts {_PARTS[how]}" for what, how in ways.items()) + joined)


def _switches(switches: Mapping[str, Sequence[object]]) -> str:
    """Return the switches for thinking of other names, as a sentence; empty if there is none."""
    sentences = [
        f"{name} switches thinking: set to {' or '.join(map(json.dumps, values))} it changes the prompt"
        if values
        else f"{name} is read, and of the values tried none changes a first prompt"
        for name, values in switches.items()
    ]
    return "; ".join(sentences)


_PARTS = {
    "shown": "is shown as text",
    "printed": "is printed as Python's list",
    "lost": "vanishes",
    "refused": "is refused",
}
_WORSE = ("shown", "escaped", "lost", "refused")
_CALLS = {
    "call without text": "a call whose message has no text (null) is",
    "two calls": "two calls in one turn are",
    "two rounds": "calls in two rounds are",
}
_TOOLS = {
    "tool without description": "a tool without a description",
    "tool without parameters": "a tool without parameters",
    "type as a list": "a parameter's type as a list",
    "anyOf": "anyOf in a parameter",
}
_UNTYPED = {"untyped": "loses the types"}

ABILITIES: tuple[Check[TemplateFacts], ...] = (
    Check("turns", "The template accepts the usual order of turns", "a conversation that ends in an error", _turns),
    Check(
        "roles",
        "Later system prompts and the developer role are handled",
        "instructions that disappear on some clients",
        _roles,
    ),
    Check(
        "thinking",
        "transformers and the converter agree on the thinking default",
        "a model that thinks when not asked to",
        _thinking,
    ),
    Check("tools", "Tool definitions, calls and results are rendered", "calls that the model cannot read", _tools),
    Check("parts", "Multi-part content is rendered", "a Python list in the prompt", _parts),
)
