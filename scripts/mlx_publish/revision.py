"""What a revision of the Hub is."""

from __future__ import annotations

import re

_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_commit(revision: str | None) -> bool:
    """Tell whether a revision is a full commit: it then never means anything else."""
    return bool(revision and _COMMIT.fullmatch(revision))
