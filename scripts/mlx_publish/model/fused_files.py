"""A base with an adapter as one list of files: what a conversion reads of both, and what travels of both.

Weights, config and card are the base's. The adapter's own files stand below `adapter/`, its tokenizer takes the place
of the base's, and its legal texts stand beside the base's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from mlx_publish.errors import Refused
from mlx_publish.evidence.digests import FileDigest, folder_digest
from mlx_publish.model.adapted import Fusing
from mlx_publish.model.adapter_base import Base
from mlx_publish.model.adapter_config import CONFIG, AdapterConfig, read_adapter_config
from mlx_publish.model.adapter_fusing import fusing_of
from mlx_publish.model.adapter_lacking import lacking
from mlx_publish.model.adapter_values import Values
from mlx_publish.model.card import SourceCard, read_card
from mlx_publish.model.config import ModelConfig
from mlx_publish.model.files import FileEntry, FolderFiles, ModelFiles, read_json_file
from mlx_publish.model.names import folded
from mlx_publish.model.select import is_legal, is_tokenizer
from mlx_publish.model.weights import TensorInfo

PREFIX = "adapter/"
"""In front of the adapter's own files."""
LARGEST = 16 << 30
"""Bytes of an adapter's tensors, which are read whole."""
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")


@dataclass(frozen=True)
class FusedFiles:
    """Implements `ModelFiles` for a base with an adapter."""

    base: ModelFiles
    adapter: ModelFiles

    @cached_property
    def origins(self) -> Mapping[str, tuple[ModelFiles, str]]:
        """Return where each file is taken from: the files of one of both, and its path there."""
        tokenizer = [path for path in self.adapter.entries if is_tokenizer(path)]
        whole = any(path in _VOCABULARIES or path.endswith(".tiktoken") for path in tokenizer)
        base = {
            path: (self.base, path)
            for path in self.base.entries
            if not path.startswith(PREFIX) and not (whole and is_tokenizer(path))
        }
        own = {f"{PREFIX}{path}": (self.adapter, path) for path in self.own_paths}
        legal = {_beside(path, base): (self.adapter, path) for path in sorted(self.adapter.entries) if is_legal(path)}
        return {**base, **{path: (self.adapter, path) for path in tokenizer}, **legal, **own}

    @property
    def tokenizer(self) -> tuple[str, ...]:
        """Return the files of the tokenizer that are the adapter's."""
        return tuple(path for path, (files, _) in self.origins.items() if files is self.adapter and is_tokenizer(path))

    @cached_property
    def own_paths(self) -> tuple[str, ...]:
        """Return the adapter's own files that are read."""
        return tuple(path for path in (CONFIG, "README.md", self.config.weights) if path in self.adapter.entries)

    @cached_property
    def entries(self) -> Mapping[str, FileEntry]:
        """Return all files by path."""
        entries = {path: replace(files.entries[of], path=path) for path, (files, of) in sorted(self.origins.items())}
        if self.patched and "config.json" in entries:
            entries["config.json"] = FileEntry("config.json", len(self.patched))
        return entries

    def read(self, path: str) -> bytes:
        """Return a small file, whole."""
        if path == "config.json" and self.patched:
            return self.patched
        files, of = self.origins[path]
        return files.read(of)

    def header(self, path: str) -> tuple[TensorInfo, ...]:
        """Return the tensors of a safetensors file."""
        files, of = self.origins[path]
        return files.header(of)

    @cached_property
    def identity(self) -> str:
        """Return the adapter's commit, or the digest of the files that are taken of its folder."""
        if not isinstance(self.adapter, FolderFiles):
            return str(getattr(self.adapter, "commit", ""))
        taken = sorted({of for own, of in self.origins.values() if own is self.adapter})
        digests = self.adapter.sha256(taken)
        return folder_digest(FileDigest(path, self.adapter.entries[path].size, digests[path]) for path in taken)

    @cached_property
    def config(self) -> AdapterConfig:
        """Return the adapter's config. `Refused` if it is none that can be fused."""
        return read_adapter_config(read_json_file(self.adapter, CONFIG), self.adapter.entries)

    @cached_property
    def card(self) -> SourceCard:
        """Return the front matter of the adapter's card."""
        return read_card(self.adapter)

    @cached_property
    def values(self) -> Values:
        """Return the adapter's tensors, read whole. `Refused` if they are too large or not safetensors."""
        name = self.config.weights
        if self.adapter.entries[name].size > LARGEST:
            raise Refused("is too large for an adapter", place=name, check="adapter-form", remedy="Merge it first.")
        return Values(self.adapter.header(name), self.adapter.read(name))

    @cached_property
    def fusing(self) -> Fusing:
        """Return what the adapter makes of the base. `Refused` naming a tensor that has no place there."""
        if self._base is None:
            return Fusing(self.config.kind, self.config.maker, (), 0, ())
        return fusing_of(self.config, self.adapter.header(self.config.weights), self._base, self.values.same)

    @property
    def lacking(self) -> tuple[str, ...]:
        """Return what the config of an adapter of PEFT says that it trained, and its file does not hold."""
        config = read_json_file(self.adapter, CONFIG)
        if self._base is None or config is None or self.config.maker != "peft":
            return ()
        return tuple(dict.fromkeys(lacking(config, self.adapter.header(self.config.weights), self._base)))

    @cached_property
    def _base(self) -> Base | None:
        """Return the base's tensors; None where files of them are not there, which a check of its own says."""
        from mlx_publish.model.metadata import Metadata  # noqa: PLC0415  it reads files like these

        of = Metadata(self.base)
        if not of.weights or any(path not in of.entries for path in of.weights):
            return None
        return Base(of.tensors, ModelConfig(of.json("config.json") or {}))

    @cached_property
    def patched(self) -> bytes:
        """Return config.json with the keys that the adapter changes; empty if it changes none."""
        config = read_json_file(self.base, "config.json")
        if config is None or not (changed := self.fusing.config):
            return b""
        for key, value in changed.items():
            text = config.get("text_config")
            places = [part for part in (text, config) if isinstance(part, dict) and key in part]
            for part in places or [text if isinstance(text, dict) else config]:
                part[key] = value
        return json.dumps(config, indent=2, ensure_ascii=False).encode()


def folders_of(files: ModelFiles) -> tuple[FolderFiles, ...]:
    """Return the folders that files lie in: one, of a base and an adapter up to two, none of repos."""
    both = (files.base, files.adapter) if isinstance(files, FusedFiles) else (files,)
    return tuple(one for one in both if isinstance(one, FolderFiles))


def _beside(path: str, taken: Mapping[str, object]) -> str:
    """Return a name for a legal text of the adapter that no file of the base has."""
    there = {folded(name) for name in taken}
    stem, dot, end = path.partition(".")
    while folded(name := f"{stem}-adapter{dot}{end}") in there:
        stem = f"{stem}-adapter"
    return name
