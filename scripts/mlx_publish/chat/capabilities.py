"""What a chat template can do, read off what it made of the dialogues."""

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
    """A small record of plain words; the comments say which ones."""

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
    """on, off, own (neither of both): what the prompt is without the switch; empty where there is none."""
    reasoning: dict[str, str]
    """Of earlier answers, by where it stands, `field` and `text`: kept, dropped, lost (the answer too), refused."""
    parts: str
    """shown, printed (as Python's list), lost, refused: content given as a list of parts."""
    begin_token: str
    """The begin token where the template writes it; empty where it does not."""
    date: str
    """none, or clock: the prompt depends on the day."""
    generation_prompt: str
    """What asks for an answer; empty where it has no effect."""
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
    switches: dict[str, list[Any]] = field(default_factory=dict)
    """Switches for thinking of other names than `enable_thinking`, each with the values that change the prompt."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, as reports and evidence keep it."""
        return asdict(self)


def capabilities(seen: Look) -> Capabilities:
    """Read them off; `seen` needs no dialogue that rendered."""
    user = seen.text("user") or ""
    begin, switches = seen.special_tokens.get("bos_token", ""), _switches(seen)
    return Capabilities(
        system=_system(seen),
        two_users=_arrives(seen, "two users"),
        assistant_first=_arrives(seen, "assistant first"),
        tools=shows(seen, "tools", TOOL, "listed", "ignored"),
        tool_calls={form: call(seen, f"call, {form}") for form in FORMS},
        tool_results=shows(seen, _called(seen), RESULT, "shown", "lost"),
        thinking="switch" if _switch(seen) else "other" if any(switches.values()) else "none",
        thinking_unset=_unset(seen),
        reasoning={"field": _reasoning(seen, "reasoning fed back"), "text": _reasoning(seen, "reasoning in the text")},
        parts=parts(seen, "text parts", QUESTION),
        begin_token=begin if begin and user.startswith(begin) else "",
        date="clock" if any(seen.text(name) != one.text for name, one in seen.later.items()) else "none",
        generation_prompt=generation_prompt(seen)[:_KEPT],
        turn_end=(seen.text("first turn") or "").rpartition(ANSWER)[2][:_KEPT],
        system_later=_arrives(seen, "system in the middle"),
        developer=_arrives(seen, "developer"),
        calls=calls(seen),
        tool_forms=tool_forms(seen),
        system_parts=parts(seen, "system in parts", SYSTEM),
        result_parts=parts(seen, f"result in parts, {form_taken(seen)}", RESULT),
        switches=switches,
    )


def generation_prompt(seen: Look) -> str:
    """What `add_generation_prompt` adds at the end; empty where it changes nothing."""
    without, with_ = seen.text("no generation prompt"), seen.text("user")
    if without is None or with_ is None or without == with_:
        return ""
    cut = shared(without, with_)
    # What both happen to share of two tokens' beginnings belongs to the token: "<|" of "<|end|>" and "<|assistant|>".
    opened = max(with_.rfind(mark, max(0, cut - _TOKEN), cut) for mark in "<[")
    return with_[opened if opened >= 0 and not set(">] \n") & set(with_[opened:cut]) else cut :]


def _system(seen: Look) -> str:
    """A turn of its own has what heads a user turn between the two texts; merged, they share one."""
    text = seen.text("system+user")
    if text is None:
        return "refused"
    if SYSTEM not in text or QUESTION not in text:
        return "lost"
    heads = (seen.text("user") or "").partition(QUESTION)[0]
    before = text.partition(QUESTION)[0].partition(SYSTEM)[2]
    return "native" if _common_end(heads, before).strip() else "merged"


def _common_end(one: str, other: str) -> str:
    return one[len(one) - shared(one[::-1], other[::-1]) :]


def _arrives(seen: Look, name: str) -> str:
    text = seen.text(name)
    if text is None:
        return "refused"
    return "kept" if all(part in text for part in probe_of(name).texts()) else "lost"


def probe_of(name: str) -> Probe:
    """A dialogue by its name."""
    return next(probe for probe in probes() if probe.name == name)


def _called(seen: Look) -> str:
    """A dialogue with a call and its result, in the form of arguments that the template takes."""
    return next((name for name in ("call, mapping", "call, string") if seen.text(name) is not None), "call, mapping")


def _switches(seen: Look) -> dict[str, list[Any]]:
    """Those that the template reads, with the values that give another prompt than none does."""
    found: dict[str, list[Any]] = {name: [] for name in seen.reads.switches}
    for probe in seen.switched:
        text = seen.text(probe.name)
        if text is not None and text != seen.text("user"):
            for name, value in probe.options.items():
                found[name].append(value)
    return found


def _switch(seen: Look) -> bool:
    return len({seen.text(name) for name in ("user", "thinking on", "thinking off")}) > 1


def _unset(seen: Look) -> str:
    if not _switch(seen):
        return ""
    unset = seen.text("user")
    return "on" if unset == seen.text("thinking on") else "off" if unset == seen.text("thinking off") else "own"


def _reasoning(seen: Look, name: str) -> str:
    text = seen.text(name)
    if text is None:
        return "refused"
    if ANSWER not in text:
        return "lost"
    return "kept" if REASONING in text else "dropped"
