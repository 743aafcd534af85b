"""The tensors of a base by the names that an adapter has for them.

Names differ by what stands in front of the layers, by the words of a mixture of experts, and by whether experts are
stored one by one or stacked: transformers 5 stacks them when it loads, and an adapter has the names of what is loaded.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mlx_publish.model.config import ModelConfig
from mlx_publish.model.weights import TensorInfo, embedding_of

_WRAPPERS = re.compile(r"(base_model|_orig_mod|module|model|language_model|text_model|transformer)\.")
_OTHER_WORDS = ((".block_sparse_moe.", ".mlp."), (".mlp.", ".block_sparse_moe."))
_HEADS = frozenset({"lm_head.weight", "embed_out.weight", "output.weight"})
ROWS_OF_PART: Mapping[str, tuple[str, ...]] = {
    "gate_up_proj": ("gate_proj", "up_proj"),
    "gate_proj": ("gate_proj",),
    "up_proj": ("up_proj",),
    "down_proj": ("down_proj",),
}
"""Stacked parameters of experts, by the matrices that stand for them in each expert, one below the other."""
WORDS: Mapping[str, tuple[str, ...]] = {
    "gate_proj": ("gate_proj", "w1"),
    "up_proj": ("up_proj", "w3"),
    "down_proj": ("down_proj", "w2"),
}
_PART_OF = {word: part for part, words in WORDS.items() for word in words}
_EXPERT = re.compile(r"(.+\.experts)\.(\d+)\.(\w+)")
TURNED_EXPERTS = frozenset({"gpt_oss", "llama4", "llama4_text"})
"""Types whose stacked experts are (experts, in, out)."""
TURNED = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})
"""Types whose matrices are (in, out), as `Conv1D` of transformers has them."""
_MOST_EXPERTS = 1 << 16


@dataclass(frozen=True)
class Slot:
    """Rows of a base's tensor, counted over all sides but the last, which are a part of what is adapted."""

    tensor: TensorInfo
    first: int
    rows: int


@dataclass(frozen=True)
class Experts:
    """A stacked parameter of experts: (experts, rows, columns), and where the rows of each expert lie."""

    rows: int
    columns: int
    slots: Sequence[Sequence[Slot]]


@dataclass(frozen=True)
class Base:
    """A base's tensors, as they are once they are read, and its config."""

    tensors: Sequence[TensorInfo]
    config: ModelConfig

    @cached_property
    def by_name(self) -> Mapping[str, TensorInfo]:
        """Return the tensors by name."""
        return {tensor.name: tensor for tensor in self.tensors}

    @cached_property
    def _alike(self) -> Mapping[str, Sequence[TensorInfo]]:
        names = defaultdict(list)
        for tensor in self.tensors:
            names[bare(tensor.name)].append(tensor)
        return names

    @property
    def kinds(self) -> frozenset[str]:
        """Return the model types that the config names, for the whole and for its text part."""
        named = (part.get("model_type") for part in (self.config.raw, self.config.text))
        return frozenset(kind for kind in named if isinstance(kind, str))

    @cached_property
    def embedding(self) -> str:
        """Return the name of the input embedding; empty if there is none."""
        language = [tensor for tensor in self.tensors if "visual" not in tensor.name and "vision" not in tensor.name]
        embedding = embedding_of(language)
        return embedding.name if embedding else ""

    @cached_property
    def head(self) -> str:
        """Return the name of the output head; where it is the embedding, the name that it would have."""
        stored = next((tensor.name for tensor in self.tensors if bare(tensor.name) in _HEADS), "")
        outer = "language_model." if self.embedding.startswith("language_model.") else ""
        return stored or f"{outer}lm_head.weight"

    @property
    def tied(self) -> bool:
        """Return whether the output head is the embedding."""
        said = self.config.text.get("tie_word_embeddings", self.config.raw.get("tie_word_embeddings"))
        return said is True or self.head not in self.by_name

    def find(self, name: str) -> TensorInfo | None:
        """Return the tensor that an adapter calls `name`; None if none is, or if it could be several."""
        if name in self.by_name:
            return self.by_name[name]
        for words in ("", *_OTHER_WORDS):
            alike = self._alike.get(bare(name.replace(*words) if words else name), ())
            if len(alike) == 1:
                return alike[0]
        if bare(name) in _HEADS and self.tied:
            return self.by_name.get(self.embedding)
        return None

    def stacked(self, module: str, parameter: str) -> Experts | None:
        """Return the experts that a parameter of three sides stands for; None if the base has no such ones."""
        tensor = self.find(f"{module}.{parameter}") or self.find(f"{module}.{parameter}.weight")
        if tensor is not None and len(tensor.shape) == 3:
            count, rows, columns = tensor.shape
            if count > _MOST_EXPERTS:
                return None
            return Experts(rows, columns, [[Slot(tensor, expert * rows, rows)] for expert in range(count)])
        slots = list(self._one_by_one(module, ROWS_OF_PART.get(parameter, ())))
        if not slots or len({tuple(slot.tensor.shape for slot in expert) for expert in slots}) != 1:
            return None
        return Experts(sum(slot.rows for slot in slots[0]), slots[0][0].tensor.shape[-1], slots)

    def _one_by_one(self, module: str, parts: Sequence[str]) -> Iterator[Sequence[Slot]]:
        """Yield the matrices of each expert that are stored for themselves."""
        for expert in range(_MOST_EXPERTS):
            tensors = [self._of_expert(module, expert, part) for part in parts]
            if not tensors or None in tensors:
                return
            yield [Slot(tensor, 0, tensor.shape[0]) for tensor in tensors if tensor and len(tensor.shape) == 2]

    def _of_expert(self, module: str, expert: int, part: str) -> TensorInfo | None:
        named = (self.find(f"{module}.{expert}.{word}.weight") for word in WORDS[part])
        return next(filter(None, named), None)

    def in_a_stack(self, module: str) -> Slot | None:
        """Return the rows of stacked experts that the matrix of one expert is, as `mlp.experts.3.up_proj`."""
        match = _EXPERT.fullmatch(module)
        part = _PART_OF.get(match[3]) if match else None
        if match is None or part is None or self.kinds & TURNED_EXPERTS:
            return None
        expert = int(match[2][:9])
        for parameter, parts in ROWS_OF_PART.items():
            tensor = self.find(f"{match[1]}.{parameter}")
            if part in parts and tensor is not None and len(tensor.shape) == 3 and expert < tensor.shape[0]:
                rows = tensor.shape[1] // len(parts)
                return Slot(tensor, expert * tensor.shape[1] + parts.index(part) * rows, rows)
        return None


def bare(name: str) -> str:
    """Return a name without what wraps the language model."""
    while match := _WRAPPERS.match(name):
        name = name[match.end() :]
    return name
