"""Cover secrets in text: tokens by their form, and by their value in this environment."""

from __future__ import annotations

import html
import json
import os
import re
from pathlib import Path
from urllib.parse import quote, quote_plus

# What stands before the host of an address is a password, or a token in the place of a name; `git` is neither.
# A path of a file has one slash where the address had two.
_FORM = re.compile(
    r"(hf_|gh[pousr]_|github_pat_)[\w-]{8,}(\.[\w-]{8,})*"
    r"|(?:(?<=://)|(?<=https:/)|(?<=http:/))(?!git@|/)[^/\s\"'<>]+(?=@)"
)
_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|KEY", re.IGNORECASE)
_learned: set[str] = set()


def learn(secret: str) -> None:
    """Cover a secret from now on that no variable holds, as an exchanged token."""
    if len(secret) >= 8:
        _learned.add(secret)


def secret_values(shortest: int = 8) -> list[str]:
    """Return the secrets that this process knows, the longest first, for one may contain another.

    The environment gives the values of variables with telling names, but for paths of files that exist.
    """
    named = {value for name, value in os.environ.items() if _NAMES.search(name)}
    return sorted({v for v in named | _learned if len(v) >= shortest and not _is_path(v)}, key=len, reverse=True)


def without_secrets(text: str) -> str:
    """Replace by *** what is a secret by its value or by its form."""
    for value in secret_values():
        for form in forms_of(value):
            text = text.replace(form, "***")
    return _FORM.sub("***", text)


def forms_of(secret: str, shortest: int = 8) -> list[str]:
    """Return a secret as it is and as messages write it: escaped by Python or JSON, in an address, line by line."""
    # Half of a surrogate pair is a byte of the environment that is no UTF-8.
    raw = secret.encode("utf-8", "surrogateescape")
    whole = (
        secret, repr(secret)[1:-1], ascii(secret)[1:-1], repr(raw)[2:-1], json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1], quote(raw), quote(raw, safe=""), quote_plus(raw),
        raw.decode("utf-8", "replace"), raw.decode("latin-1"), html.escape(secret),
        secret.encode("ascii", "xmlcharrefreplace").decode("ascii"),
    )  # fmt: skip
    lines = [line.strip() for line in re.split(r"[\r\n]+", secret)]
    # The longest first, for one may be the beginning of another.
    return sorted({form for form in (*whole, *lines) if len(form) >= shortest}, key=len, reverse=True)


def _is_path(value: str) -> bool:
    try:
        return value.startswith(("/", "~")) and Path(value).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False
