"""Pictures for a twin: what transformers' own processor makes of drawn ones, and ids with their places between text.

The processor is that of the source's files, its sizes those of the small picture. Code of a source never runs.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_publish.evidence.proof import Pictured
from mlx_publish.torch_check.sizes import VOCABULARY
from mlx_publish.torch_check.whole_towers import FEWEST_SOFT, Grid, grid_of, small_sizes

Config = Mapping[str, Any]
Array = NDArray[Any]
LATER = 8
"""Tokens behind the prompt, which a generation computes one by one."""
_TEXT = 12
_SIDE = 112
"""Pixels of a drawn picture, where no size of the tower says more."""
_MOST_TOKENS = 1500
_SIZES = ("size", "crop_size", "max_image_size", "pad_size", "image_grid_pinpoints", "image_size")
_COUNTS = ("image_seq_length", "image_seq_len", "num_image_tokens")
_IMAGE = ("image_token_id", "image_token_index", "media_placeholder_token_id", "img_context_token_id")
_BEFORE = ("vision_start_token_id", "boi_token_id", "boi_token_index", "image_start_token_id")
_AFTER = ("vision_end_token_id", "eoi_token_id", "eoi_token_index", "image_end_token_id")
_TYPES = ("token_type_ids", "mm_token_type_ids")
# The prompt is read both ways as a whole, and pictures are no type of their own.
_PREFIX = frozenset({"paligemma"})


class NoPicturesError(Exception):
    """Transformers cannot be shown a picture here; that is no verdict on MLX."""


@dataclass(frozen=True)
class Processor:
    """What a source says of its image processor."""

    image: Config = field(default_factory=dict)

    def small(self, grid: Grid | None) -> dict[str, Any]:
        """Return the settings of the small picture."""
        made = {key: value for key, value in self.image.items() if key != "auto_map"}
        for key, value in made.items():
            if grid and key in _SIZES:
                made[key] = small_sizes(value, grid)
            elif grid and key in _COUNTS and type(value) is int:
                made[key] = grid.tokens(value)
            elif key == "max_soft_tokens" and type(value) is int:
                made[key] = min(value, FEWEST_SOFT)
        return made


def draw(width: int, height: int, seed: int) -> Any:
    """Return a picture of slopes, a disc and noise."""
    from PIL import Image  # noqa: PLC0415

    random = np.random.default_rng(seed)
    down, right = np.mgrid[0:height, 0:width]
    slopes = np.stack([255 * right / max(width - 1, 1), 255 * down / max(height - 1, 1), 127 + 0 * right], -1)
    slopes[(right - width * 0.3) ** 2 + (down - height * 0.4) ** 2 < (min(width, height) * 0.25) ** 2] = (230, 20, 30)
    noisy = slopes + random.normal(0, 40, slopes.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8), "RGB")


class Shower:
    """Shows pictures to a twin; raises `NoPicturesError` where transformers cannot."""

    def __init__(self, model: Any, before: Config, config: Config, processor: Processor, folder: Path) -> None:
        """Load the processor for the small `config` of the source's config `before`."""
        self._model, self._config = model, config
        self._grid = grid_of(before, config)
        self._processor = _load(processor.small(self._grid), config, folder)
        core = getattr(model, "model", model)
        self._features = getattr(model, "get_image_features", None) or getattr(core, "get_image_features", None)
        if self._features is None:
            raise NoPicturesError(f"{type(model).__name__} has no image features in transformers")
        self.token = _token(config, _IMAGE)
        if self.token is None:
            raise NoPicturesError("config.json names no token for images")

    def shown(self, seed: int) -> list[Pictured]:
        """Return ids and inputs with one picture, and with two of different sizes where the class takes several."""
        side = self._grid.size_after if self._grid else _SIDE
        pictures = [draw(round(side * 1.5), side, seed), draw(side, round(side * 1.25), seed + 1)]
        random = np.random.default_rng(seed + 5)
        return [self._of(pictures[:1], random), self._of(pictures, random)]

    def _of(self, pictures: Sequence[Any], random: np.random.Generator) -> Pictured:
        inputs = self._inputs(pictures)
        counts = [self._tokens(self._inputs([picture])) for picture in pictures]
        whole = self._tokens(inputs)
        if whole != sum(counts) or not 0 < whole <= _MOST_TOKENS:
            raise NoPicturesError(f"{len(pictures)} pictures have {whole} tokens, and one by one {counts}")
        ids, before, after = _ordinary(random), _token(self._config, _BEFORE), _token(self._config, _AFTER)
        for count in counts:
            ids += [before] if before is not None else []
            ids += [self.token] * count
            ids += [after] if after is not None else []
            ids += _ordinary(random)
        prompt = len(ids)
        ids += _ordinary(random)[:LATER]
        return Pictured(ids, prompt, len(pictures), inputs | self._types(ids, prompt))

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

    def _inputs(self, pictures: Sequence[Any]) -> dict[str, Array]:
        made = self._processor(images=list(pictures), return_tensors="pt")
        taken = inspect.signature(self._model.forward).parameters
        return {key: np.asarray(value) for key, value in made.items() if hasattr(value, "shape") and key in taken}

    def _tokens(self, inputs: Mapping[str, Array]) -> int:
        """Return how many vectors of the language model's width pictures become."""
        import torch  # noqa: PLC0415, TID251

        taken = inspect.signature(self._features).parameters
        given = {key: torch.from_numpy(value) for key, value in inputs.items() if key in taken}
        with torch.inference_mode():
            made = self._features(**given)
        made = getattr(made, "pooler_output", made)
        parts = made if isinstance(made, (list, tuple)) else [made]
        width = self._model.config.get_text_config().hidden_size
        return sum(part.numel() for part in parts if hasattr(part, "numel")) // int(width)


def ask(model: Any, shown: Pictured) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return logits of every position, (positions, vocabulary), and what the language model is given, (positions, width)."""
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


def _token(config: Config, names: Sequence[str]) -> int | None:
    parts = (config, *(part for part in config.values() if isinstance(part, Mapping)))
    return next((part[name] for name in names for part in parts if type(part.get(name)) is int), None)


def _load(settings: Config, config: Config, folder: Path) -> Any:
    """Return transformers' image processor of settings, or that of the model type where there are none."""
    import transformers  # noqa: PLC0415, TID251

    if not transformers.utils.is_vision_available():
        raise NoPicturesError("Pillow is not installed beside torch")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dict(config)), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(dict(settings)), encoding="utf-8")
    return transformers.AutoImageProcessor.from_pretrained(
        str(folder), backend="pil", trust_remote_code=False, local_files_only=True
    )
