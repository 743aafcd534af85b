"""No secret is shown: tokens are covered by their form, and by their value in this environment."""

from __future__ import annotations

import os
import re
from pathlib import Path

_FORM = re.compile(r"(hf_|gh[pousr]_|github_pat_)[\w-]{8,}(\.[\w-]{8,})*|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")
_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|KEY", re.IGNORECASE)
_learned: set[str] = set()


def learn(secret: str) -> None:
    """Cover a secret from now on that stands in no variable, as an exchanged token."""
    if len(secret) >= 8:
        _learned.add(secret)


def secret_values(shortest: int = 8) -> list[str]:
    """Secrets that this process knows, the longest first, for one may begin with another.

    Of the environment they are the values of variables whose names say so, but for paths of files that exist.
    """
    named = {value for name, value in os.environ.items() if _NAMES.search(name)}
    return sorted({v for v in named | _learned if len(v) >= shortest and not _is_path(v)}, key=len, reverse=True)


def without_secrets(text: str) -> str:
    """Cover what is a secret by its value or by its form."""
    for value in secret_values():
        text = text.replace(value, "***")
    return _FORM.sub("***", text)


def _is_path(value: str) -> bool:
    try:
        return value.startswith(("/", "~")) and Path(value).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False
