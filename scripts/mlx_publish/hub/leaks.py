"""Search files that are about to be published for secrets, by form and by value; a secret is never shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from mlx_publish.text.masking import secret_values

# The forms that the providers document; each is specific enough not to stand in a vocabulary by chance.
FORMS: tuple[tuple[str, re.Pattern[bytes]], ...] = tuple(
    (name, re.compile(form))
    for name, form in (
        ("a Hugging Face token", rb"\b(hf|api_org)_[A-Za-z0-9]{30,}\b|\bhf_jwt_[\w-]{8,}\.[\w-]{8,}"),
        ("a GitHub token", rb"\bgh[pousr]_[A-Za-z0-9]{36,}\b|\bgithub_pat_\w{40,}\b"),
        ("an AWS key", rb"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
        ("an OpenAI or Anthropic key", rb"\bsk-(proj-|ant-|svcacct-)?[\w-]{32,}"),
        ("a Google key", rb"\bAIza[\w-]{35}\b"),
        ("a Slack token", rb"\bxox[abprs]-[\w-]{20,}"),
        ("a GitLab token", rb"\bglpat-[\w-]{20,}"),
        ("a PyPI token", rb"\bpypi-AgE[\w-]{50,}"),
        ("a private key", rb"-----BEGIN ([A-Z]+ )*PRIVATE KEY-----"),
        ("a password in an address", rb"\b[a-z][a-z0-9+.-]{1,15}://[^/\s:@\"'<>{}$]+:[^/\s@\"'<>{}$]{3,}@[\w.-]+"),
    )
)
_LONG_ENOUGH = 12
"""Characters of a value of the environment: shorter ones stand in any vocabulary."""
_HEADER = 8
"""Bytes that say how long the header of a weight file is."""


def leaks(files: Iterable[tuple[str, Path]]) -> Iterator[str]:
    """Yield the place and the kind of each secret, as `config.json:3: a GitHub token`.

    Of weight files only the header is read: the rest are numbers.
    """
    values = [value.encode() for value in secret_values(_LONG_ENOUGH)]
    for name, path in files:
        with path.open("rb") as file:
            length = path.stat().st_size
            if name.endswith(".safetensors"):
                length = min(int.from_bytes(file.read(_HEADER), "little"), length)
            content = file.read(length)
        matches = [(what, match.start()) for what, form in FORMS if (match := form.search(content))]
        starts = [start for value in values if (start := content.find(value)) >= 0]
        for what, start in (*matches, *(("the value of a secret in this environment", start) for start in starts)):
            line = content.count(b"\n", 0, start) + 1
            yield f"{name}:{line}: {what}"
