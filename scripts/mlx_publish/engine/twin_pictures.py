"""Pictures for a twin: what an image processor makes of drawn ones, with the sizes of the small picture.

It is transformers' own for the model type, without torch, else the one that the library brings for the family.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlx_publish.evidence.proof import PicturesDrawn
from mlx_publish.text.progress import Tell

_MOST_BYTES = 64 << 20
"""Of pixel values; a small picture has some kilobytes."""


def pictures(config: dict[str, Any], settings: dict[str, Any], side: int, folder: str, progress: Tell) -> PicturesDrawn:
    """Write what a processor makes of two pictures of different sizes, and of both, to `folder`, `N.npz`.

    `config` is the small one and `settings` those of its processor; `side` is the size of a picture in pixels.
    """
    progress("pictures for the twin")
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    try:
        processor = _processor(config, settings, place)
        drawn = [draw(round(side * 1.5), side, 0), draw(side, round(side * 1.25), 1)]
        for number, some in enumerate(([drawn[0]], [drawn[1]], drawn)):
            np.savez(place / f"{number}.npz", **_made(processor, some))
    except Exception as error:  # noqa: BLE001  a processor raises what it likes at a stranger's settings
        words = " ".join(str(error).split())[:300]
        return PicturesDrawn(f"its image processor cannot be used: {type(error).__name__}: {words}")
    return PicturesDrawn("")


def draw(width: int, height: int, seed: int) -> Any:
    """Return a picture of slopes, a disc and noise."""
    from PIL import Image  # noqa: PLC0415  it is there where models see

    random = np.random.default_rng(seed)
    down, right = np.mgrid[0:height, 0:width]
    slopes = np.stack([255 * right / max(width - 1, 1), 255 * down / max(height - 1, 1), 127 + 0 * right], -1)
    slopes[(right - width * 0.3) ** 2 + (down - height * 0.4) ** 2 < (min(width, height) * 0.25) ** 2] = (230, 20, 30)
    noisy = slopes + random.normal(0, 40, slopes.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _processor(config: dict[str, Any], settings: dict[str, Any], folder: Path) -> Any:
    """Return the image processor of settings; no code of a model runs."""
    from transformers import AutoImageProcessor  # noqa: PLC0415

    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    try:
        return AutoImageProcessor.from_pretrained(
            str(folder), backend="pil", trust_remote_code=False, local_files_only=True
        )
    except (ImportError, ValueError, OSError):  # it has none without torch
        if (own := _own(config, settings)) is None:
            raise
        return own


def _own(config: dict[str, Any], settings: dict[str, Any]) -> Any:
    """Return the image processor that the library brings for a family; None if it brings none."""
    import importlib  # noqa: PLC0415
    import pkgutil  # noqa: PLC0415

    from mlx_vlm import utils  # noqa: PLC0415  it is there where models see

    family, _ = utils.get_model_and_args(dict(config))
    package = importlib.import_module(family.__name__)
    for found in pkgutil.iter_modules(package.__path__):
        if not found.name.startswith(("processing", "image_process")):
            continue
        module = importlib.import_module(f"{package.__name__}.{found.name}")
        for name, kind in vars(module).items():
            if isinstance(kind, type) and kind.__module__ == module.__name__ and name.endswith("ImageProcessor"):
                known = {key: value for key, value in settings.items() if not key.endswith(("_type", "_class"))}
                return kind(**known)
    return None


def _made(processor: Any, some: Sequence[Any]) -> dict[str, Any]:
    made = processor(images=list(some), return_tensors="np")
    arrays = {key: np.asarray(value) for key, value in dict(made).items() if hasattr(value, "shape")}
    if sum(array.nbytes for array in arrays.values()) > _MOST_BYTES or "pixel_values" not in arrays:
        raise ValueError("its pixel values have no shape, or one that is too large")
    return {key: array.astype(np.float32) if array.dtype.kind == "f" else array for key, array in arrays.items()}
