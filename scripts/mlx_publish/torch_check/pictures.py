"""Pictures for a twin: ids with the places of image tokens between text, and what transformers computes of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_publish.torch_check.sizes import VOCABULARY

Array = NDArray[Any]
LATER = 8
"""Tokens behind the prompt, which a generation computes one by one."""
_TEXT = 12
_MOST_TOKENS = 1500
_IMAGE = ("image_token_id", "image_token_index", "media_placeholder_token_id", "img_context_token_id")
_BEFORE = ("vision_start_token_id", "boi_token_id", "boi_token_index", "image_start_token_id")
_AFTER = ("vision_end_token_id", "eoi_token_id", "eoi_token_index", "image_end_token_id")
_TYPES = ("token_type_ids", "mm_token_type_ids")
# The prompt is read both ways as a whole, and pictures are no type of their own.
_PREFIX = frozenset({"paligemma"})


@dataclass(frozen=True)
class Pictured:
    """A text with pictures in it, for a twin."""

    ids: Sequence[int]
    prompt: int
    """Tokens of the prompt; a generation computes those behind it one by one."""
    pictures: int
    inputs: Mapping[str, Array]
    """What a processor gives beside ids, by its names."""


class NoPicturesError(Exception):
    """Transformers cannot be shown a picture here; that is no verdict on MLX."""


class Shower:
    """Shows pictures to a twin; raises `NoPicturesError` where transformers cannot."""

    def __init__(self, model: Any, config: Mapping[str, object], folder: Path) -> None:
        """Take what the processor made, of two pictures and of both, from `folder`."""
        self._model, self._config = model, config
        taken = inspect.signature(model.forward).parameters
        files = (dict(np.load(folder / f"{number}.npz")) for number in range(3))
        self._made = [{key: value for key, value in made.items() if key in taken} for made in files]
        core = getattr(model, "model", model)
        features = getattr(model, "get_image_features", None) or getattr(core, "get_image_features", None)
        if features is None:
            raise NoPicturesError(f"{type(model).__name__} has no image features in transformers")
        token = _token(config, _IMAGE)
        if token is None:
            raise NoPicturesError("config.json names no token for images")
        self.token, self._features = token, features

    def shown(self, seed: int) -> list[Pictured]:
        """Return ids and inputs with one picture, and with two of different sizes."""
        random = np.random.default_rng(seed + 5)
        counts = [self._tokens(made) for made in self._made]
        if counts[2] != sum(counts[:2]) or not 0 < counts[2] <= _MOST_TOKENS:
            raise NoPicturesError(f"two pictures have {counts[2]} tokens, and one by one {counts[0]} and {counts[1]}")
        return [self._of(counts[:1], self._made[0], random), self._of(counts[:2], self._made[2], random)]

    def _of(self, counts: Sequence[int], inputs: Mapping[str, Array], random: np.random.Generator) -> Pictured:
        ids, before, after = _ordinary(random), _token(self._config, _BEFORE), _token(self._config, _AFTER)
        for count in counts:
            ids += [before] if before is not None else []
            ids += [self.token] * count
            ids += [after] if after is not None else []
            ids += _ordinary(random)
        prompt = len(ids)
        ids += _ordinary(random)[:LATER]
        return Pictured(ids, prompt, len(counts), {**inputs, **self._types(ids, prompt)})

    def _types(self, ids: Sequence[int], prompt: int) -> dict[str, Array]:
        """Return what the class's processor says of each token: 1 of a picture."""
        name = next((name for name in _TYPES if name in inspect.signature(self._model.forward).parameters), None)
        if name is None:
            return {}
        if self._config.get("model_type") in _PREFIX:
            types = [0] * prompt + [1] * (len(ids) - prompt)
        else:
            types = [int(id_ == self.token) for id_ in ids]
        return {name: np.array([types])}

    def _tokens(self, inputs: Mapping[str, Array]) -> int:
        """Return how many vectors of the language model's width pictures become."""
        import torch  # noqa: PLC0415, TID251

        taken = inspect.signature(self._features).parameters
        given = {key: torch.from_numpy(value) for key, value in inputs.items() if key in taken}
        with torch.inference_mode():
            made = self._features(**given)
        made = getattr(made, "pooler_output", made)
        parts = made if isinstance(made, (list, tuple)) else [made]
        width = int(self._model.config.get_text_config().hidden_size)
        return sum(int(part.numel()) for part in parts if hasattr(part, "numel")) // width


def ask(model: Any, shown: Pictured) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return logits, (positions, vocabulary), and what the language model is given, (positions, width)."""
    import torch  # noqa: PLC0415, TID251

    given: list[Any] = []
    language = model.get_decoder() if hasattr(model, "get_decoder") else model
    handle = language.register_forward_pre_hook(
        lambda _module, _words, named: given.append(named.get("inputs_embeds")), with_kwargs=True
    )
    inputs = {key: torch.from_numpy(value) for key, value in shown.inputs.items()}
    ids = torch.tensor([list(shown.ids)])
    try:
        with torch.inference_mode():
            output = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **inputs)
    finally:
        handle.remove()
    embedded = next((value[0].float().numpy() for value in given if value is not None), np.zeros((0, 0), np.float32))
    return output.logits[0].float().numpy(), embedded


def read_forward(shown: Pictured) -> Pictured | None:
    """Return the same without types of tokens, so that each sees only what is before it; None where there are none."""
    kept = {key: value for key, value in shown.inputs.items() if key != _TYPES[0]}
    return replace(shown, inputs=kept) if len(kept) < len(shown.inputs) else None


def _ordinary(random: np.random.Generator) -> list[int]:
    return [int(id_) for id_ in random.integers(3, VOCABULARY - 60, _TEXT)]


def _token(config: Mapping[str, object], names: Sequence[str]) -> int | None:
    parts = (config, *(part for part in config.values() if isinstance(part, Mapping)))
    found = (part[name] for name in names for part in parts if name in part)
    return next((id_ for id_ in found if type(id_) is int), None)
