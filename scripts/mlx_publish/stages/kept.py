"""What was found out about a source, kept beside its other facts for as long as its inputs stay the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_publish.evidence.digests import digest_of
from mlx_publish.text.files import json_text, read_json, write_atomically


@dataclass(frozen=True)
class Kept:
    """A file with a result, and the digest of everything that the result depends on."""

    path: Path
    inputs: Mapping[str, Any]

    def known(self) -> dict[str, Any] | None:
        """Return the result, or None where there is none of these inputs."""
        said = read_json(self.path)
        if not isinstance(said, dict) or said.get("key") != digest_of(self.inputs):
            return None
        result = said.get("result")
        # One that somebody edited is found again.
        return result if isinstance(result, dict) and said.get("own") == _own(result) else None

    def keep(self, result: Mapping[str, Any]) -> None:
        """Keep a result in the place of the one before."""
        said = {"key": digest_of(self.inputs), "own": _own(result), "result": dict(result)}
        write_atomically(self.path, json_text(said))


def _own(result: Mapping[str, Any]) -> str:
    """The digest of a result as it comes back from a file, where keys are texts and keep their order."""
    return hashlib.sha256(json.dumps(dict(result)).encode()).hexdigest()
