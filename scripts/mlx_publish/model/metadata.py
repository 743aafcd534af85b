"""Everything about a model but its weights; each part is read at its first use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mlx_publish.chat.look import Look, look
from mlx_publish.model.adapted import Fusing
from mlx_publish.model.card import SourceCard, read_card, stricter
from mlx_publish.model.config import ModelConfig
from mlx_publish.model.draft import judge_kinds
from mlx_publish.model.files import FileEntry, ModelFiles, read_json_file
from mlx_publish.model.folder import Stray
from mlx_publish.model.fused_files import PREFIX, FusedFiles, folders_of
from mlx_publish.model.left_over import is_left_over
from mlx_publish.model.legal import Legal, read_legal
from mlx_publish.model.packed import Packing, block_of, packing_of
from mlx_publish.model.quantized import SIDE_FILES
from mlx_publish.model.select import carried_files, is_legal, is_tokenizer
from mlx_publish.model.senses import is_language
from mlx_publish.model.tokenizer import TokenizerInfo, read_tokenizer
from mlx_publish.model.tokenizer_bounds import judge_files, judge_texts, judge_tokenizer
from mlx_publish.model.vocabulary import Vocabulary, read_decoder, read_vocabulary
from mlx_publish.model.weights import INDEX, TensorInfo, is_pointer, weight_files

# A pointer of git-lfs has about 130 bytes, and the format has a limit of 1024.
_POINTER_SIZE = 1024
_AT_ONCE = 8
"""Headers that are asked of the Hub at once."""
_TOKEN_FILES = ("tokenizer_config.json", "special_tokens_map.json")
_OLDER_FILES = ("vocab.json", "added_tokens.json")


@dataclass(frozen=True)
class Metadata:
    """A model by its small files, its file list and the headers of its weights.

    Whatever cannot be read raises `Refused` naming the file.
    """

    files: ModelFiles

    @cached_property
    def entries(self) -> Mapping[str, FileEntry]:
        """Return all files by path."""
        return self.files.entries

    @property
    def dead_links(self) -> tuple[str, ...]:
        """Return links to nothing among the files of a folder that a conversion would carry over."""
        links = [path for folder in folders_of(self.files) for path in folder.look.dead]
        wanted = carried_files(links, (path for path in links if path.endswith(".safetensors")))
        return tuple(path for path in links if path in wanted)

    @property
    def strays(self) -> tuple[Stray, ...]:
        """Return names in a folder that stand for something outside of it, or for no file."""
        return tuple(stray for folder in folders_of(self.files) for stray in folder.look.strays)

    @property
    def hollow(self) -> tuple[str, ...]:
        """Return files that a conversion may take and of which the disk holds next to nothing."""
        large = [path for path in sorted(self.named) if not is_legal(path)]  # those have a check of their own
        looks = [folder.look for folder in folders_of(self.files)]
        return tuple(path for look in looks for path in large if path in look.places and look.hollow(path))

    @cached_property
    def named(self) -> frozenset[str]:
        """Return the files that conversion may take, by their names alone."""
        weights = (path for path in self.entries if path.startswith("model") and path.endswith(".safetensors"))
        return frozenset(carried_files(self.entries, (path for path in weights if "/" not in path)))

    @cached_property
    def legal(self) -> Legal:
        """Return the legal files, sorted by what becomes of them."""
        return read_legal(self.files)

    @cached_property
    def needed(self) -> frozenset[str]:
        """Return the files that are there and that conversion takes."""
        own = [f"{PREFIX}{path}" for path in self.files.own_paths] if isinstance(self.files, FusedFiles) else []
        return frozenset({*carried_files(self.entries, self.weights), *own} & self.entries.keys()) - self.not_texts

    @property
    def not_texts(self) -> frozenset[str]:
        """Return the legal files that stay behind."""
        return frozenset((*self.legal.left, *self.legal.broken))

    @cached_property
    def config(self) -> ModelConfig:
        """Return config.json, empty if there is none."""
        return ModelConfig(self.json("config.json") or {})

    @cached_property
    def card(self) -> SourceCard:
        """Return the front matter of README.md."""
        return read_card(self.files)

    @property
    def licence_card(self) -> SourceCard:
        """Return the card whose licence applies: with an adapter the one with the stricter terms."""
        return stricter(self.card, self.files.card) if isinstance(self.files, FusedFiles) else self.card

    @cached_property
    def tokenizer(self) -> TokenizerInfo:
        """Return the content of the tokenizer's small files.

        Raises `Refused` if a file of the tokenizer costs more than any real one.
        """
        judge_files({path: entry.size for path, entry in self.entries.items() if is_tokenizer(path)})
        for path in _TOKEN_FILES if "tokenizer.json" in self.entries else (*_TOKEN_FILES, *_OLDER_FILES):
            judge_texts(self.json(path), path)
        config = self.json("tokenizer_config.json") or {}
        judge_kinds("tokenizer_config.json", config)
        read_decoder(config)
        return read_tokenizer(self.files)

    @cached_property
    def look(self) -> Look | None:
        """Render the package's dialogues with its chat templates, in a child process; None if it has none.

        Raises `Refused` if no template applies unasked.
        """
        info = self.tokenizer
        return look(info.templates, info.special_tokens) if info.templates else None

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Return the tokens of tokenizer.json, none where there is no such file."""
        data = self.json("tokenizer.json") or {}
        judge_tokenizer(data)
        return read_vocabulary(data)

    @cached_property
    def added_tokens(self) -> frozenset[str]:
        """Return texts of tokens that stand for themselves: of tokenizer.json, tokenizer_config.json and by role."""
        listed = (self.json("tokenizer_config.json") or {}).get("added_tokens_decoder")
        entries = listed.values() if isinstance(listed, Mapping) else ()
        texts = (entry.get("content") for entry in entries if isinstance(entry, Mapping))
        by_role = self.tokenizer.special_tokens.values()
        return frozenset(text for text in (*self.vocabulary.added, *texts, *by_role) if isinstance(text, str) and text)

    @cached_property
    def index(self) -> Mapping[str, object] | None:
        """Return the index of the weights, which has megabytes for the largest models."""
        return self.json(INDEX)

    @cached_property
    def weights(self) -> tuple[str, ...]:
        """Return the one set of weight files, whether they are there or not."""
        return weight_files(self.entries, self.index)

    @cached_property
    def headers(self) -> Mapping[str, tuple[TensorInfo, ...]]:
        """Return the tensors by weight file, of those files that are there."""
        paths = [path for path in self.weights if path in self.entries]
        if folders_of(self.files) or len(paths) < 2:
            return {path: self.files.header(path) for path in paths}
        # Each is a request or two to the Hub, which the largest models have some hundred of.
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

        with ThreadPoolExecutor(min(len(paths), _AT_ONCE)) as several:
            return dict(zip(paths, several.map(self.files.header, paths), strict=True))

    @cached_property
    def stored_tensors(self) -> tuple[TensorInfo, ...]:
        """Return the tensors of all weight files, as they lie there."""
        return tuple(tensor for header in self.headers.values() for tensor in header)

    @cached_property
    def _side(self) -> Mapping[str, Mapping[str, object]]:
        return {path: content for path in SIDE_FILES if (content := self.json(path)) is not None}

    @cached_property
    def has_left_over(self) -> bool:
        """Return whether it says of a quantization that its weights, all of them plain numbers, do not have."""
        block = block_of(self.config.raw, self._side)
        return not (self.packing and self.packing.weights) and is_left_over(self.config.raw, block, self.tensors)

    @cached_property
    def packing(self) -> Packing | None:
        """Return how the weights are held where they are quantized in a form that is read; None for plain numbers.

        Raises `Refused` naming the tensor where the parts of a weight do not fit each other.
        """
        return packing_of(self.config.raw, self._side, self.stored_tensors, self.config.dtype)

    @cached_property
    def tensors(self) -> tuple[TensorInfo, ...]:
        """Return the tensors as they are once they are read: a quantized weight is one tensor of plain numbers."""
        read = self.packing.tensors(self.stored_tensors) if self.packing else self.stored_tensors
        return self.fusing.tensors(read) if self.fusing else read

    @property
    def fusing(self) -> Fusing | None:
        """Return what an adapter makes of this base; None where there is none.

        Raises `Refused` naming the tensor of the adapter that has no place.
        """
        return self.files.fusing if isinstance(self.files, FusedFiles) else None

    @cached_property
    def language_tensors(self) -> tuple[TensorInfo, ...]:
        """Return the tensors of the language model, which are all that a conversion to text keeps."""
        return tuple(tensor for tensor in self.tensors if is_language(tensor.name))

    @cached_property
    def towers(self) -> tuple[TensorInfo, ...]:
        """Return the tensors of image and audio encoders, and of what joins them to the language model."""
        return tuple(tensor for tensor in self.tensors if not is_language(tensor.name))

    def json(self, path: str) -> dict[str, Any] | None:
        """Return a JSON object of the model, None if the file is absent."""
        return read_json_file(self.files, path)

    def is_pointer(self, path: str) -> bool:
        """Return whether a file is only a pointer of git-lfs."""
        return self.entries[path].size < _POINTER_SIZE and is_pointer(self.files.read(path))
