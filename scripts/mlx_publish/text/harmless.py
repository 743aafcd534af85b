"""Text from elsewhere that commands neither a terminal nor a runner. Standard library only: the noxfile uses it too.

A runner reads commands from every line of a step's output: `::name::` behind blanks at its beginning, `##[name]`
anywhere in it. It ignores invisible characters when it compares. Source:
https://github.com/actions/runner/blob/main/src/Runner.Common/ActionCommand.cs
"""

from __future__ import annotations

import json
import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# Blanks within a line, and what Unicode calls ignorable by default.
UNSEEN = (
    r"[\x00-\t\x0b\x0c\x0e-\x20\x7f-\xa0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f"
    r"\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffd"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]*"
)
_COMMAND = re.compile(rf"(?:^|(?<=\r)){UNSEEN}(?=:{UNSEEN}:)|#(?={UNSEEN}#{UNSEEN}\[)", re.MULTILINE)
_IN_JSON = re.compile(r"#(?= *# *\[)|:(?=:)|\x7f")
_BREAKS = re.compile(r"[\n\t\v\f\x1c-\x1e\x85\u2028\u2029]")
SHORT = 200
"""Characters of a foreign text that a message quotes."""


def plain(text: str) -> str:
    """Make text safe to show: no control characters, so no colours, no cursor moves, no reversed text."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def harmless(text: str) -> str:
    """Break what a runner would take for a command, as `::set-output` or `##[add-path]`, in each line."""
    return _COMMAND.sub(lambda match: f"{match[0]}\\", text)


def one_line(text: str, longest: int = SHORT) -> str:
    """Return text for a single line: line breaks as escapes, and of a long text only its beginning and its end."""
    shown = plain(_BREAKS.sub(lambda match: repr(match[0])[1:-1], text))
    if len(shown) <= longest:
        return shown
    end = longest // 4
    return f"{shown[: longest - end]}[… {len(shown) - longest} more …]{shown[-end:]}"


def shown_json(data: object) -> str:
    """Return data as JSON of the same value that is ASCII and commands nothing."""
    # Outside of texts JSON has neither two colons side by side nor a hash.
    return _IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(data, indent=2))
