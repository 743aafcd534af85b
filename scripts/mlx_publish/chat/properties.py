"""What is odd about a chat template, converted or not: pure functions of what it rendered."""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass

from mlx_publish.chat.capabilities import generation_prompt
from mlx_publish.chat.dialogues import Probe, probes
from mlx_publish.chat.look import Look, shared
from mlx_publish.chat.variables import OPTIONS

# What is written like a special token. "[INST]" is left out: it is plain text in some models and a token in others.
LIKE_A_TOKEN = re.compile(
    r"<\|[^<>|\s]{1,40}\|?>|<[^<>|\s]{1,40}\|>|<\uff5c[^<>\uff5c\s]{1,40}\uff5c?>|<[^<>\uff5c\s]{1,40}\uff5c>|</?s>"
    r"|<(?:start|begin|end)_of_\w{1,30}>|<(?:bos|eos|pad|unk|sep|cls|mask)>|<(?:SPECIAL|reserved|unused|extra_id)_?\d+>"
)


BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True)
class Growth:
    """How much of a prompt is still the beginning of the next one, when a dialogue grows."""

    kept: str
    """whole, turn (all but what asks for the answer), or less."""
    before: str = ""
    """The last characters that both share."""


def not_once(look: Look) -> Iterator[tuple[str, str, int]]:
    """Yield (dialogue, text, count) of every message's text that does not arrive exactly once."""
    for probe in probes():
        text = look.text(probe.name)
        if text is None or _is_a_capability(probe):
            continue
        for part in probe.texts():
            if (count := text.count(part)) != 1:
                yield probe.name, part, count


def vanished(look: Look) -> tuple[tuple[str, str], ...]:
    """Return (dialogue, text) of texts that vanish, and are not merely changed, where a template has to show them."""
    gone = []
    for probe in probes():
        if not probe.must or (text := look.text(probe.name)) is None:
            continue
        for part in probe.texts():
            words = part.lower().split()
            arrived = sum(bool(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text.lower())) for word in words)
            if part.lower() not in text.lower() and 2 * arrived < len(words):
                gone.append((probe.name, part))
    return tuple(gone)


def _is_a_capability(probe: Probe) -> bool:
    """Return whether a capability covers a dialogue: system text, a turn out of order, reasoning, parts, tools."""
    roles = [message["role"] for message in probe.messages]
    odd = bool({"system", "developer"} & {*roles}) or probe.tools is not None
    odd = odd or probe.name in ("two users", "assistant first", "text parts")
    return odd or "reasoning" in probe.name


def refusals(look: Look, *, must: bool) -> tuple[tuple[str, str], ...]:
    """Return (dialogue, error) of those that did not render, among those that a template must or need not render."""
    return tuple(
        (probe.name, look.rendered[probe.name].error or "")
        for probe in probes()
        if probe.must == must and look.text(probe.name) is None
    )


def begin_tokens(look: Look) -> int:
    """Return the number of begin tokens at the beginning of a prompt."""
    begin, text = look.special_tokens.get("bos_token", ""), look.text("user") or ""
    count = 0
    while begin and text.startswith(begin * (count + 1)):
        count += 1
    return count


def unknown_tokens(look: Look, known: Set[str]) -> tuple[str, ...]:
    """Return what the template writes like a special token and the tokenizer does not know as one."""
    written: set[str] = set()
    for probe in probes():
        text = look.text(probe.name) or ""
        if any(LIKE_A_TOKEN.search(part) and part not in text for part in probe.texts()):
            continue  # a text that was changed cannot be told from the template's own
        for part in probe.texts():
            text = text.replace(part, "")
        written.update(LIKE_A_TOKEN.findall(text))
    return tuple(sorted(written - known))


def growth(look: Look, first: str = "user", then: str = "several turns") -> Growth | None:
    """Compare the prompt of a dialogue with that of its continuation; None if one of them did not render."""
    shorter, longer = look.text(first), look.text(then)
    if shorter is None or longer is None:
        return None
    common = shared(shorter, longer)
    if common == len(shorter):
        return Growth("whole")
    asked = len(shorter) - len(generation_prompt(look))
    return Growth("turn" if common >= asked else "less", shorter[max(0, common - 40) : common])


def surprising_variables(look: Look) -> tuple[str, ...]:
    """Return the names that a template takes for given and no known caller gives; they may be slips of the pen."""
    return tuple(sorted(look.reads.bare - OPTIONS - look.special_tokens.keys()))
