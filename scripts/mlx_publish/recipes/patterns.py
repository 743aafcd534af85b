"""Patterns of what people write into recipes and requests, each with the words that tell them what may stand there."""

from __future__ import annotations

import re
from collections.abc import Mapping

_WORDS: dict[str, str] = {}
WORDS: Mapping[str, str] = _WORDS
"""What a value is that fits a pattern: `a repo written as namespace/name`."""


def _in_words(pattern: str, words: str) -> str:
    _WORDS[pattern] = words
    return pattern


_PART = "[A-Za-z0-9][A-Za-z0-9._-]*"

NAME = _in_words(f"^{_PART}$", "a name of letters, digits, '.', '_' and '-'")
REPO = _in_words(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$", "a repo written as namespace/name")
REVISION = _in_words(r"^\w[\w-]*([./][\w-]+)*$", "a commit, a tag or a branch")
LICENCE = _in_words("^[A-Za-z0-9][A-Za-z0-9.+-]{0,63}$", "a licence identifier, such as apache-2.0")
# ISO 639 with parts of BCP 47, or one of the Hub's two words.
LANGUAGE = _in_words(
    "^([A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}|multilingual|code)$", "a language code, such as en or zh-Hans"
)
INSIDE = _in_words(r"^\.?[\w-][\w.-]*(/\.?[\w-][\w.-]*)*$", "the path of a file inside the repo, such as signers.txt")
WORKFLOW = _in_words(
    r"^[\w-][\w.-]*/[\w.-]+/\.github/workflows/[\w.-]+\.ya?ml$",
    "a workflow written as OWNER/REPO/.github/workflows/FILE.yml",
)
COLLECTION = _in_words(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$", "the end of a collection's address, such as namespace/slug-id")

# Of a request, which is a stranger's: ASCII alone.
ASKED_REPO = _in_words(f"^{_PART}/{_PART}$", "a repo written as namespace/name")
ASKED_REVISION = _in_words("^[A-Za-z0-9_][A-Za-z0-9_-]*([./][A-Za-z0-9_-]+)*$", "a commit, a tag or a branch")
ASKED_VARIANTS = _in_words(f"^{_PART}([ ,]+{_PART})*$", "short names of variants, such as 4bit,8bit")
ASKED_DESTINATION = _in_words(
    f"^{_PART}/[A-Za-z0-9{{][A-Za-z0-9._{{}}-]*$",
    "a repo written as namespace/name, with the placeholders {source} and {variant}",
)
# No control characters, and none that turn the direction of text around.
ASKED_TEXT = _in_words(
    "^[^\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u202a-\\u202e\\u2066-\\u2069]*$",
    "plain text, without control characters or characters that change the text direction",
)
PRINTED = _in_words("^[^\\u0000-\\u001f\\u007f]+$", "the path of a file, without control characters")
ASKED_LINE = _in_words("^[ -~]*$", "one line of ASCII")


_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_commit(revision: str | None) -> bool:
    """Return whether a revision is a full commit: it then never means anything else."""
    return bool(revision and _COMMIT.fullmatch(revision))
