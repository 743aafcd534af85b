"""A folder's tokenizer files during their repair: read strictly, written only where they changed."""

from __future__ import annotations

import codecs
import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlx_publish.errors import Place, Refused
from mlx_publish.text.bounds import bounds_of
from mlx_publish.text.json_text import FaultyJson, parse

CONFIG, SPECIAL, FAST = "tokenizer_config.json", "special_tokens_map.json", "tokenizer.json"
MODEL, GENERATION = "config.json", "generation_config.json"

_KINDS: Mapping[str, tuple[type, ...]] = {
    "tokenizer_class": (str, type(None)),
    "additional_special_tokens": (list, type(None)),
}
_SHOWN = 60


@dataclass(frozen=True)
class Change:
    """A change of a file of a model, in words, and its place: file and key."""

    file: str
    key: str
    """Empty if there is none, as for a byte order mark."""
    message: str


@dataclass
class Draft:
    """The JSON of the files by path, and the texts of the other files to write."""

    files: Mapping[str, bytes]
    json: dict[str, dict[str, Any]]
    texts: dict[str, str]
    changes: list[Change]
    remarks: list[str]

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> Draft:
        """Read all JSON files. Raises `Refused` naming file and line where one is broken."""
        parsed = {path: read_object(path, data) for path, data in files.items() if path.endswith(".json")}
        for path in (CONFIG, SPECIAL):
            judge_kinds(path, parsed.get(path, {}))
        return cls(files, copy_small(parsed), {}, [], [])

    def changed(self, key: str, message: str, file: str = CONFIG) -> None:
        """Note a change of a key."""
        self.changes.append(Change(file, key, message))

    @property
    def config(self) -> dict[str, Any]:
        """Return tokenizer_config.json, a new one where it is missing."""
        return self.json.setdefault(CONFIG, {})

    @property
    def fast(self) -> Mapping[str, object] | None:
        """Return tokenizer.json for reading only: it decides the ids."""
        return self.json.get(FAST)

    def written(self) -> dict[str, bytes]:
        """Return the files to write, changed or new."""
        result = {path: text.encode() for path, text in self.texts.items()}
        for path in [path for path in self.json if path in (CONFIG, SPECIAL)]:
            before = read_object(path, self.files[path]) if path in self.files else {}
            if self.json[path] != before:
                result[path] = json_bytes(self.json[path])
        for path, raw in self.files.items():
            if path.endswith(".json") and path not in result and raw.startswith(codecs.BOM_UTF8):
                result[path] = raw.removeprefix(codecs.BOM_UTF8)
        return result


def judge_kinds(path: str, data: Mapping[str, object]) -> None:
    """Raise `Refused` if a key that decides how a tokenizer is loaded holds what no client takes there."""
    for key, kinds in _KINDS.items():
        if not isinstance(data.get(key), kinds):
            raise _broken(path, 1, f"{key} is {repr(data[key])[:_SHOWN]}, which no client accepts")
    for key in ("additional_special_tokens", "extra_special_tokens"):
        listed = data.get(key)
        for token in listed if isinstance(listed, list) else ():
            if not isinstance(token.get("content") if isinstance(token, dict) else token, str):
                raise _broken(path, 1, f"{key} holds {repr(token)[:_SHOWN]}, which is not a token")


def copy_small(parsed: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Copy what may be changed; tokenizer.json is large and never is."""
    return {path: data if path == FAST else copy.deepcopy(data) for path, data in parsed.items()}


def read_object(path: str, data: bytes) -> dict[str, Any]:
    """Parse a JSON object, a byte order mark before it allowed. Raises `Refused` naming file and line."""
    text = read_text(path, data.removeprefix(codecs.BOM_UTF8))
    try:
        content = parse(text, bounds_of(path))
    except FaultyJson as error:
        raise _broken(path, error.line or 1, error.message) from error
    if not isinstance(content, dict):
        raise _broken(path, 1, "is not a JSON object")
    return content


def read_text(path: str, data: bytes) -> str:
    """Decode UTF-8, all line ends as one newline, as clients read it. Raises `Refused` naming file and line."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _broken(path, line, f"not UTF-8: {error.reason}") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def json_bytes(data: Mapping[str, object]) -> bytes:
    """Return JSON as Hugging Face writes it: two spaces, keys in their order, characters as they are."""
    try:
        return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        # Half a surrogate pair can be escaped, not encoded.
        return (json.dumps(data, indent=2) + "\n").encode()


def _broken(path: str, line: int, message: str) -> Refused:
    return Refused(message, check="tokenizer-portable", place=Place(path, line), remedy="Fix the file in the source.")
