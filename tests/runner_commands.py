"""How GitHub's runner looks at a line of a step's output: Runner.Common/ActionCommand.cs of actions/runner."""

from __future__ import annotations

import re

_UNSEEN = r"[\u00ad\u034f\u061c\u115f\u180b-\u180e\u200b-\u200f\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]"


def runs(line: str) -> bool:
    """Whether it is a command; comparing as people read, the runner passes over what nobody sees."""
    seen = re.sub(_UNSEEN, "", line).lstrip()
    return seen.startswith("::") or "##[" in seen


def commands(text: str) -> list[str]:
    """The commands in what was printed; lines end where .NET's StreamReader ends them."""
    return [line for line in re.split(r"\r\n|\r|\n", text) if runs(line)]
