"""What mlx-vlm makes of tiny vision-language models: ids, pixel values, logits.

    python vision_reading.py FOLDER ...

runs in the Python that has mlx-vlm and no torch. Beside each model it writes NAME.inputs.npz, what its processor makes
of one and of two drawn pictures, and NAME.mlx.npz, the logits in float32.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

import mlx.core as mx  # noqa: TID251
import numpy as np
import transformers  # noqa: TID251
from mlx_vlm import utils  # noqa: TID251
from PIL import Image

from vision_families import FAMILIES

QUESTION = "What is left of the blue square?"
CASES = {"text": 0, "one": 1, "two": 2}
SIZES = ((90, 70), (64, 96))


def drawn(width: int, height: int) -> Image.Image:
    """A red circle left of a blue square on a colour wheel of noise."""
    y, x = np.mgrid[0:height, 0:width]
    waves = 127 + 127 * np.sin((3 * x + 5 * y) / 7)
    canvas = np.stack([255 * x / width, 255 * y / height, waves], -1)
    side = min(width, height) / 4
    canvas[(x - 0.3 * width) ** 2 + (y - 0.4 * height) ** 2 < side * side] = (230, 20, 30)
    canvas[(abs(x - 0.75 * width) < side / 2) & (abs(y - 0.6 * height) < side / 2)] = (20, 40, 220)
    return Image.fromarray(canvas.astype(np.uint8))


def inputs(folder: Path, processor: Any, pictures: int) -> dict[str, Any]:
    """Return what the model is given.

    Pixel values are mlx-vlm's; for Gemma 4 transformers' own, since mlx-vlm hands on pictures instead of patches.
    """
    family = FAMILIES[folder.name.partition(".")[0]]()
    text, images = family.slot.join(family.around) * pictures + QUESTION, [drawn(*size) for size in SIZES[:pictures]]
    if not pictures:
        return dict(processor.tokenizer([text], return_tensors="np", add_special_tokens=False))
    made = {key: value for key, value in processor(text=[text], images=[*images]).items() if key != "labels"}
    if folder.name.startswith("gemma4"):
        own = transformers.AutoImageProcessor.from_pretrained(str(folder))
        pixels = own(images=[*images], return_tensors="np")
        made.update({key: pixels[key] for key in ("pixel_values", "image_position_ids")})
    return {key: np.asarray(value) for key, value in made.items() if key != "image_token_index"}


def logits(model: Any, given: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the logits of every position, as `generate_step` computes them."""
    arrays = {key: mx.array(value) for key, value in given.items()}
    ids, mask = arrays.pop("input_ids"), arrays.pop("attention_mask", None)
    features = model.get_input_embeddings(ids, arrays.pop("pixel_values", None), mask=mask, **arrays)
    more = {key: value for key, value in features.to_dict().items() if value is not None}
    return np.array(model.language_model(ids, **more).logits[0].astype(mx.float32))


def read(folder: Path) -> None:
    """Compute and write both files of one model, or what mlx-vlm raised."""
    small = utils._load_safetensors
    try:
        utils._load_safetensors = lambda path: {
            name: tensor.astype(mx.float32) if mx.issubdtype(tensor.dtype, mx.floating) else tensor
            for name, tensor in small(path).items()
        }
        model, processor = utils.load(str(folder))
    finally:
        utils._load_safetensors = small
    given = {case: inputs(folder, processor, pictures) for case, pictures in CASES.items()}
    flat = {f"{case}.{key}": value for case, made in given.items() for key, value in made.items()}
    np.savez(folder.with_name(f"{folder.name}.inputs.npz"), **flat)
    computed: dict[str, Any] = {case: logits(model, made) for case, made in given.items()}
    np.savez(folder.with_name(f"{folder.name}.mlx.npz"), **computed)


if __name__ == "__main__":
    mx.set_default_device(mx.cpu)
    failed = {}
    for each in map(Path, sys.argv[1:]):
        try:
            read(each)
        except Exception as error:  # noqa: BLE001  the table tells it
            failed[each.name] = f"{type(error).__name__}: {error}"
    print(json.dumps(failed))
