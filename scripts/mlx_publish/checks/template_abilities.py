"""What is said of what a chat template can do: orders of turns, roles, thinking, tools, content in parts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from mlx_publish.chat.capabilities import Capabilities
from mlx_publish.chat.look import Look
from mlx_publish.checks.base import Check, Says, passed, warned
from mlx_publish.checks.template_facts import TemplateFacts, where_there_is_one


@where_there_is_one
def _turns(_facts: TemplateFacts, _seen: Look, found: Capabilities) -> Says:
    told = {"two user turns in a row": found.two_users, "an assistant's turn first": found.assistant_first}
    if lost := [what for what, how in told.items() if how == "lost"]:
        return warned(f"{' and '.join(lost)}: texts vanish without an error")
    if refused := [what for what, how in told.items() if how == "refused"]:
        return passed(f"turns alternate strictly: {' and '.join(refused)} {_are(refused)} refused")
    return passed("turns may come in any order")


def _are(things: Sequence[str]) -> str:
    return "is" if len(things) == 1 else "are"


@where_there_is_one
def _roles(_facts: TemplateFacts, _seen: Look, found: Capabilities) -> Says:
    told = {"a system text in the middle": found.system_later, "the role developer": found.developer}
    ways = {"kept": "is kept", "refused": "is refused", "lost": "vanishes without an error"}
    said = "; ".join(f"{what} {ways[how]}" for what, how in told.items())
    return warned(said) if "lost" in told.values() else passed(said)


@where_there_is_one
def _thinking(facts: TemplateFacts, _seen: Look, found: Capabilities) -> Says:
    others = _switches(found.switches)
    if found.thinking != "switch":
        return passed(others or "there is no switch for thinking")
    unset = found.thinking_unset or "own"
    said = f"enable_thinking switches thinking; unset it is {'neither on nor off' if unset == 'own' else unset}"
    said = f"{said}; {others}" if others else said
    if facts.chat is None:
        return passed(said)
    sets = "on" if facts.chat.thinks else "off"
    if unset != sets:
        return warned(f"{said} in transformers, and {sets} in mlx-lm, which sets the switch by itself")
    return passed(f"{said}, in mlx-lm too")


@where_there_is_one
def _tools(_facts: TemplateFacts, seen: Look, found: Capabilities) -> Says:
    if found.tools != "listed":
        said = "the template has no place for tools"
        return passed(said if found.tools == "ignored" else f"{said} and refuses them")
    forms = [f"arguments as a {form} are {how}" for form, how in found.tool_calls.items()]
    said = f"tools are listed; {'; '.join(forms)}; results are {found.tool_results}"
    one = min(found.tool_calls.values(), key=_WORSE.index)
    odd = [f"{_CALLS[name]} {how}" for name, how in found.calls.items() if how not in ("shown", one)]
    odd += [
        f"{_TOOLS[name]} {_UNTYPED.get(how, f'is {how}')}" for name, how in found.tool_forms.items() if how != "listed"
    ]
    if one == "refused":
        odd.insert(0, f"calls are refused: {seen.rendered['call, mapping'].error}")
    wrong = all(how != "shown" for how in found.tool_calls.values())
    return warned("; ".join((said, *odd)), odd=odd) if odd or wrong else passed(said)


@where_there_is_one
def _parts(_facts: TemplateFacts, _seen: Look, found: Capabilities) -> Says:
    ways = {"content": found.parts, "a system text": found.system_parts, "a tool's result": found.result_parts}
    if found.tools != "listed":
        del ways["a tool's result"]
    joined = "" if set(ways.values()) == {"shown"} else "; servers join the parts first"
    return passed("; ".join(f"{what} as a list of parts {_PARTS[how]}" for what, how in ways.items()) + joined)


def _switches(switches: Mapping[str, Sequence[object]]) -> str:
    """The switches for thinking of other names, in words; empty where there is none."""
    told = [
        f"{name} switches thinking: set to {' or '.join(map(json.dumps, values))} it changes the prompt"
        if values else f"{name} is read, and of the values tried none changes a first prompt"
        for name, values in switches.items()
    ]  # fmt: skip
    return "; ".join(told)


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
    Check("turns", "The order of turns", "a dialogue that ends in an error", _turns),
    Check("roles", "Later system texts and the role developer", "instructions that vanish on some clients", _roles),
    Check("thinking", "The switch for thinking", "a model that thinks unasked", _thinking),
    Check("tools", "Tools and their results", "calls that the model cannot read", _tools),
    Check("parts", "Content in parts", "a Python list in the prompt", _parts),
)
