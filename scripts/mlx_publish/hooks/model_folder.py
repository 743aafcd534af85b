"""A folder of a model in a work tree, of which git may hold but the small files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from mlx_publish.errors import Fault, Refused, in_file
from mlx_publish.hooks.faults import faults_of
from mlx_publish.hooks.json_lines import key_lines
from mlx_publish.model.draft import CONFIG, FAST, GENERATION, MODEL, SPECIAL, read_object
from mlx_publish.model.select import is_tokenizer
from mlx_publish.model.weights import is_pointer

_CHECKED = (MODEL, GENERATION, CONFIG, SPECIAL)
# Keys that only the config of a model has.
_TELLING = frozenset({"model_type", "architectures", "hidden_size", "num_hidden_layers", "vocab_size", "quantization"})
_INDENT = re.compile(rb"\{\r?\n( +|\t+)\"")
_AS_SOURCE = "Copy the value from the source model."


class ModelFolder:
    """What lies in one folder; files that were mended are written at the end, once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broken: list[Fault] = []
        self._mended: dict[str, bytes] = {}
        self._read: dict[str, dict[str, Any] | None] = {}

    @cached_property
    def names(self) -> frozenset[str]:
        """The files on top."""
        return frozenset(path.name for path in self.folder.iterdir() if path.is_file())

    @property
    def is_model(self) -> bool:
        """Return whether it is a model's; many programs keep a config.json."""
        beside = {GENERATION, CONFIG, FAST} & self.names or any(name.endswith(".safetensors") for name in self.names)
        if beside or MODEL not in self.names:
            return bool(beside)
        data = self.content(MODEL) or b""
        try:
            return bool(_TELLING & read_object(MODEL, data).keys())
        except Refused:
            return any(f'"{key}"'.encode() in data for key in _TELLING)

    def unreadable(self) -> Iterator[Fault]:
        """Yield what cannot be read; then nothing more can be said of the folder."""
        for name in _CHECKED:
            try:
                self.json(name)
            except Refused as error:
                self.broken += faults_of(error, self.folder / name)
        yield from self.broken

    def content(self, name: str) -> bytes | None:
        """Return the bytes of a file, as they are now or will be; None if it is absent."""
        if name in self._mended:
            return self._mended[name]
        return (self.folder / name).read_bytes() if name in self.names else None

    def json(self, name: str) -> dict[str, Any] | None:
        """Return a JSON object; None if the file is absent or a pointer of git-lfs. `Refused` if it is broken."""
        if name not in self._read:
            data = self.content(name)
            self._read[name] = None if data is None or is_pointer(data) else read_object(name, data)
        return self._read[name]

    @property
    def config(self) -> dict[str, Any] | None:
        """config.json; None if it is absent."""
        return self.json(MODEL)

    def tokenizer_files(self) -> dict[str, bytes]:
        """Return the tokenizer's files by path, without the content of those that only have to be there."""
        more = self.folder / "additional_chat_templates"
        files = {f"{more.name}/{path.name}": path.read_bytes() for path in more.glob("*.jinja")}
        for name in filter(is_tokenizer, self.names):
            data = (self.content(name) or b"") if name.endswith((".json", ".jinja")) else b""
            files[name] = b"{}" if is_pointer(data) else data
        return files

    def rewrite(self, name: str, data: Mapping[str, object]) -> None:
        """Rewrite a JSON file, in the order of `data` and with the file's own indent."""
        before = self.content(name) or b'{\n  "\n'
        indent = _INDENT.match(before)
        space = indent[1].decode() if indent else None
        text = json.dumps(data, indent=space, ensure_ascii=False)
        if any("\ud800" <= char <= "\udfff" for char in text):  # half of a surrogate pair can only be escaped
            text = json.dumps(data, indent=space)
        self.put(name, (text + ("\n" if before.endswith(b"\n") else "")).encode())

    def put(self, name: str, data: bytes) -> None:
        """Keep what a file shall be."""
        self._mended[name] = data
        self._read.pop(name, None)

    def write(self) -> None:
        """Write what was mended."""
        for name, data in self._mended.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(data)

    def fault(self, name: str, key: str, message: str, remedy: str = _AS_SOURCE, *, fixed: bool = False) -> Fault:
        """Return the fault of a key, at its line in the file as it was."""
        data = (self.folder / name).read_bytes() if name in self.names else b"{}"
        lines, nearest = key_lines(data.decode("utf-8-sig", "replace")), key
        while nearest and nearest not in lines:
            nearest = nearest.rpartition(".")[0]
        place = in_file(self.folder / name, lines.get(nearest, 1))
        return Fault(message, place, key, "" if fixed else remedy, fixed)
