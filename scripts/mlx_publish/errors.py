"""What can go wrong, one class an exit code.

Every message says what failed and why; `remedy` says what to do next.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

_LONG_WORD = re.compile(r"\S{501,}")
_LONGEST = 20_000
"""Characters of a message, which may name many places."""


def short(message: str, longest: int = _LONGEST) -> str:
    """The message with what it quotes cut: a name of megabytes says no more by its end than by its beginning."""
    said = _LONG_WORD.sub(lambda word: f"{word[0][:200]}…", message) if len(message) > 500 else message
    return said if len(said) <= longest else f"{said[:longest]}…"


class PublishError(Exception):
    """The base of all errors that this program raises on purpose."""

    exit_code: ClassVar[int] = 3
    # Only a `BadInput` has these.
    place: str = ""
    key: str = ""
    others: tuple[PublishError, ...] = ()

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(short(message))
        self.message = short(message)
        self.remedy = remedy


class Refused(PublishError):
    """A check failed: the model must not be published like this. Exit code 1.

    `check` is the id under which the finding stands in the report.
    """

    exit_code = 1

    def __init__(self, message: str, *, check: str = "readable", place: str = "", remedy: str = "") -> None:
        super().__init__(f"{place}: {message}" if place else message, remedy=remedy)
        self.check = check


class BadInput(PublishError):
    """A recipe, flag, event or policy is wrong. Exit code 2.

    `place` names where: `recipe.yaml:12` or `--bits`; `key` the key, as `variants[0].bits`; `others` are more of them.
    """

    exit_code = 2

    def __init__(
        self, message: str, *, place: str = "", key: str = "", remedy: str = "", others: Sequence[BadInput] = ()
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.place = place
        self.key = key
        self.others = tuple(others)

    def __str__(self) -> str:
        """Place, key and message in the form that editors and terminals make a link of, a line for each error."""
        own = ": ".join(part for part in (self.place, self.key, self.message) if part)
        return "\n".join((own, *map(str, self.others)))


class Bug(PublishError):
    """This program broke its own rules. Exit code 3."""

    exit_code = 3


class SurroundingsError(PublishError):
    """Network, Hub, disk, memory or Metal failed; the same command may be run again. Exit code 4."""

    exit_code = 4

    def __init__(self, message: str, *, remedy: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after
        """Seconds that whoever failed asks to wait."""


class Interrupted(PublishError):
    """Somebody pressed ctrl-c or ended the job. Exit code 130."""

    exit_code = 130
