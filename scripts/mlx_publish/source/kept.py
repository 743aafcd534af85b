"""What is known of a source, kept beside its other facts for as long as its inputs stay the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from mlx_publish.evidence.digests import digest_of
from mlx_publish.evidence.records import from_json, to_json
from mlx_publish.text.files import json_text, read_json, write_atomically

T = TypeVar("T")


@dataclass(frozen=True)
class Kept(Generic[T]):
    """A file with a result of a kind, and the digest of everything that the result depends on."""

    path: Path
    kind: type[T]
    inputs: Mapping[str, object]

    def known(self) -> T | None:
        """Return the result, or None if there is none of these inputs."""
        note = read_json(self.path)
        if not isinstance(note, dict) or note.get("key") != digest_of(self.inputs):
            return None
        result = note.get("result")
        # One that somebody edited is computed again.
        if not isinstance(result, dict) or note.get("own") != _own(result):
            return None
        try:
            return from_json(self.kind, result)
        except ValueError:  # of another version
            return None

    def keep(self, result: T) -> None:
        """Keep a result in the place of the one before."""
        plain = to_json(result)
        write_atomically(self.path, json_text({"key": digest_of(self.inputs), "own": _own(plain), "result": plain}))


def _own(result: Mapping[str, object]) -> str:
    """Return the digest of a result as it comes back from a file, where keys are texts and keep their order."""
    return hashlib.sha256(json.dumps(dict(result)).encode()).hexdigest()
