"""What mlx-vlm and transformers compute of a tiny model that is shown a picture: each in its own Python.

    PYTHON vision_computing.py mlx-vlm FOLDER INPUTS LOGITS      # in the Python with mlx-vlm
    PYTHON vision_computing.py transformers FOLDER INPUTS LOGITS # in the Python with torch

INPUTS is a file that mlx-vlm's processor of FOLDER is asked for where it does not exist; LOGITS are float32,
(positions, vocabulary).
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Inputs = dict[str, NDArray[Any]]
QUESTION = "What is left of the blue square?"
SIZE = 90, 70
_TYPES = ("mm_token_type_ids", "token_type_ids")
"""What transformers' processors say of each token: 1 of a picture."""
_PATCHES = frozenset({"gemma4"})
"""Families whose pictures mlx-vlm wants whole, and transformers in patches, which mlx-vlm takes as well."""


def compute(python: Path, library: str, folder: Path, inputs: Path, logits: Path) -> NDArray[np.float32]:
    """Run this module in another Python. AssertionError with what it printed where it fails."""
    words = [str(python), __file__, library, str(folder), str(inputs), str(logits)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert not done.returncode, done.stderr[-3000:]
    computed: NDArray[np.float32] = np.load(logits)
    return computed


def picture() -> Any:
    """Return a red disc left of a blue square, on slopes, so that no two patches are the same."""
    from PIL import Image  # noqa: PLC0415  not where the tests run

    width, height = SIZE
    down, right = np.mgrid[0:height, 0:width]
    drawn = np.stack([160 * right / width, 160 * down / height, 90 + 60 * np.sin(right / 5 + down / 9)], -1)
    drawn[(right - 28) ** 2 + (down - 30) ** 2 < 15**2] = (230, 20, 30)
    drawn[(abs(right - 65) < 12) & (abs(down - 42) < 12)] = (20, 40, 220)
    return Image.fromarray(drawn.astype(np.uint8))


def by_mlx_vlm(folder: Path, inputs: Path) -> NDArray[np.float32]:
    """Compute as `mlx_vlm.generate.generate_step` does, in float32."""
    import mlx.core as mx  # noqa: PLC0415, TID251
    from mlx.utils import tree_map  # noqa: PLC0415, TID251
    from mlx_vlm import utils  # noqa: PLC0415, TID251

    mx.set_default_device(mx.cpu)
    model, processor = utils.load(str(folder))
    if not inputs.exists():
        np.savez(inputs, **cast("dict[str, Any]", _asked(folder, model, processor)))

    def widened(array: Any) -> Any:
        return array.astype(mx.float32) if mx.issubdtype(array.dtype, mx.floating) else array

    model.update(tree_map(widened, model.parameters()))
    given = {key: mx.array(value) for key, value in np.load(inputs).items()}
    ids, mask, pixels = given.pop("input_ids"), given.pop("attention_mask", None), given.pop("pixel_values")
    embedded = model.get_input_embeddings(ids, pixels, mask=mask, **given).to_dict()
    computed = model.language_model(ids, **{key: value for key, value in embedded.items() if value is not None})
    return np.array(computed.logits[0].astype(mx.float32))


def _asked(folder: Path, model: Any, processor: Any) -> Inputs:
    from mlx_vlm.prompt_utils import apply_chat_template  # noqa: PLC0415, TID251
    from mlx_vlm.utils import prepare_inputs  # noqa: PLC0415, TID251

    prompt = apply_chat_template(processor, model.config, QUESTION, num_images=1)
    made = prepare_inputs(processor, images=[picture()], prompts=prompt, add_special_tokens=False)
    arrays = {key: np.array(value) for key, value in made.items() if value is not None and hasattr(value, "shape")}
    return arrays | (_patches(folder) if model.config.model_type in _PATCHES else {})


def _patches(folder: Path) -> Inputs:
    import transformers  # noqa: PLC0415, TID251

    processor = transformers.AutoImageProcessor.from_pretrained(str(folder), backend="pil")
    made = processor(images=[picture()], return_tensors="np")
    return {key: np.asarray(value) for key, value in made.items() if hasattr(value, "shape")}


def by_transformers(folder: Path, inputs: Path) -> NDArray[np.float32]:
    """Compute what the class that config.json names computes, in float32."""
    import torch  # noqa: PLC0415, TID251
    import transformers  # noqa: PLC0415, TID251

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    given = dict(np.load(inputs))
    kind = getattr(transformers, config["architectures"][0])
    model = kind.from_pretrained(str(folder), dtype=torch.float32, attn_implementation="eager").eval()
    taken = inspect.signature(model.forward).parameters
    images = given["input_ids"] == config.get("image_token_id", -1)
    given |= {name: images.astype(np.int64) for name in _TYPES if name in taken and name not in given}
    with torch.inference_mode():
        computed = model(**{key: torch.from_numpy(value) for key, value in given.items()}, use_cache=False)
    logits: NDArray[np.float32] = computed.logits[0].float().numpy()
    return logits


if __name__ == "__main__":
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
    _, asked, *paths = sys.argv
    source, prepared, result = map(Path, paths)
    np.save(result, (by_mlx_vlm if asked == "mlx-vlm" else by_transformers)(source, prepared))
