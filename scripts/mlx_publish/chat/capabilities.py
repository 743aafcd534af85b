"""What a chat template can do, judged by how it rendered the dialogues."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from mlx_publish.chat.calls import call, calls, form_taken, parts, shows, tool_forms
from mlx_publish.chat.dialogues import (
    ANSWER,
    FORMS,
    QUESTION,
    REASONING,
    RESULT,
    SYSTEM,
    TOOL,
    Probe,
    probes,
)
from mlx_publish.chat.look import Look, shared

_TOKEN = 40  # characters that a special token may have
_KEPT = 2000  # of a piece of prompt


@dataclass(frozen=True)
class Capabilities:
    """A small record of plain words; each field lists its own."""

    system: str
    """native (a turn of its own), merged (the template puts it into a user turn), refused, lost."""
    two_users: str
    """kept, refused, lost: two user turns that follow each other."""
    assistant_first: str
    """kept, refused, lost."""
    tools: str
    """listed, ignored, refused."""
    tool_calls: dict[str, str]
    """By the form of the arguments, `mapping` and `string`: shown, escaped (quoted twice), lost, refused."""
    tool_results: str
    """shown, lost, refused."""
    thinking: str
    """none; switch: `enable_thinking` changes the prompt; other: one of `switches` does."""
    thinking_unset: str
    """on, off, own (neither of both): what the prompt is without the switch; empty if there is none."""
    reasoning: dict[str, str]
    """Of earlier answers, by where it stands, `field` and `text`: kept, dropped, lost (the answer too), refused."""
    parts: str
    """shown, printed (as Python's list), lost, refused: content given as a list of parts."""
    begin_token: str
    """The begin token where the template writes it; empty if it does not."""
    date: str
    """none, or clock: the prompt depends on the day."""
    generation_prompt: str
    """What asks for an answer; empty if it has no effect."""
    turn_end: str
    """What stands behind the assistant's text."""
    system_later: str
    """kept, refused, lost: a system text behind the first turns."""
    developer: str
    """kept, refused, lost: the role developer, which some clients send in place of system."""
    calls: dict[str, str]
    """By the dialogue (call without text, two calls, two rounds): shown, lost, refused."""
    tool_forms: dict[str, str]
    """By the dialogue (tool without ..., type as a list, anyOf): listed, untyped (without its type), lost, refused."""
    system_parts: str
    """shown, printed, lost, refused: a system text given as a list of parts."""
    result_parts: str
    """shown, printed, lost, refused: a tool's result given as a list of parts."""
    switches: dict[str, list[object]] = field(default_factory=dict)
    """Switches for thinking of other names than `enable_thinking`, each with the values that change the prompt."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data, as reports and evidence keep it."""
        return asdict(self)


def capabilities(look: Look) -> Capabilities:
    """Judge a template; where a dialogue did not render, the words say so."""
    user = look.text("user") or ""
    # The first form of arguments with which the template renders a call and its result.
    called = next((name for name in ("call, mapping", "call, string") if look.text(name) is not None), "call, mapping")
    plain, on, off = (look.text(name) for name in ("user", "thinking on", "thinking off"))
    switch = len({plain, on, off}) > 1
    unset = "" if not switch else "on" if plain == on else "off" if plain == off else "own"
    begin, switches = look.special_tokens.get("bos_token", ""), _switches(look)
    return Capabilities(
        system=_system(look),
        two_users=_arrives(look, "two users"),
        assistant_first=_arrives(look, "assistant first"),
        tools=shows(look, "tools", TOOL, "listed", "ignored"),
        tool_calls={form: call(look, f"call, {form}") for form in FORMS},
        tool_results=shows(look, called, RESULT, "shown", "lost"),
        thinking="switch" if switch else "other" if any(switches.values()) else "none",
        thinking_unset=unset,
        reasoning={"field": _reasoning(look, "reasoning fed back"), "text": _reasoning(look, "reasoning in the text")},
        parts=parts(look, "text parts", QUESTION),
        begin_token=begin if begin and user.startswith(begin) else "",
        date="clock" if any(look.text(name) != rendering.text for name, rendering in look.later.items()) else "none",
        generation_prompt=generation_prompt(look)[:_KEPT],
        turn_end=(look.text("first turn") or "").rpartition(ANSWER)[2][:_KEPT],
        system_later=_arrives(look, "system in the middle"),
        developer=_arrives(look, "developer"),
        calls=calls(look),
        tool_forms=tool_forms(look),
        system_parts=parts(look, "system in parts", SYSTEM),
        result_parts=parts(look, f"result in parts, {form_taken(look)}", RESULT),
        switches=switches,
    )


def generation_prompt(look: Look) -> str:
    """Return what `add_generation_prompt` adds at the end; empty if it changes nothing."""
    without, with_ = look.text("no generation prompt"), look.text("user")
    if without is None or with_ is None or without == with_:
        return ""
    cut = shared(without, with_)
    # What both happen to share of two tokens' beginnings belongs to the token: "<|" of "<|end|>" and "<|assistant|>".
    opened = max(with_.rfind(mark, max(0, cut - _TOKEN), cut) for mark in "<[")
    return with_[opened if opened >= 0 and not set(">] \n") & set(with_[opened:cut]) else cut :]


def _system(look: Look) -> str:
    """Tell a turn of its own, which puts a user turn's head between both texts, from a system text within that turn."""
    text = look.text("system+user")
    if text is None:
        return "refused"
    if SYSTEM not in text or QUESTION not in text:
        return "lost"
    heads = (look.text("user") or "").partition(QUESTION)[0]
    before = text.partition(QUESTION)[0].partition(SYSTEM)[2]
    common = heads[len(heads) - shared(heads[::-1], before[::-1]) :]
    return "native" if common.strip() else "merged"


def _arrives(look: Look, name: str) -> str:
    text = look.text(name)
    if text is None:
        return "refused"
    return "kept" if all(part in text for part in probe_of(name).texts()) else "lost"


def probe_of(name: str) -> Probe:
    """Return a dialogue by its name."""
    return next(probe for probe in probes() if probe.name == name)


def _switches(look: Look) -> dict[str, list[object]]:
    """Return the switches that the template reads, each with the values that change the prompt."""
    effective: dict[str, list[object]] = {name: [] for name in look.reads.switches}
    for probe in look.switched:
        text = look.text(probe.name)
        if text is not None and text != look.text("user"):
            for name, value in probe.options.items():
                effective[name].append(value)
    return effective


def _reasoning(look: Look, name: str) -> str:
    text = look.text(name)
    if text is None:
        return "refused"
    if ANSWER not in text:
        return "lost"
    return "kept" if REASONING in text else "dropped"
