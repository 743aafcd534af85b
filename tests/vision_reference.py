"""What transformers computes of tiny vision-language models: logits with pictures.

    python vision_reference.py FOLDER ...

runs in the Python of the reference environment; it reads NAME.inputs.npz beside each model and writes NAME.torch.npz.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

import numpy as np
import torch  # noqa: TID251
import transformers  # noqa: TID251
from transformers.modeling_outputs import MoeCausalLMOutputWithPast  # noqa: TID251

MARKED = ("token_type_ids", "mm_token_type_ids")
"""1 at the tokens of a picture; mlx-vlm's processors leave them out."""
# Llama 4 reads it of an output that has no such field; in transformers 5.24 its forward pass fails without it.
MoeCausalLMOutputWithPast.image_outputs = None


def compute(folder: Path) -> None:
    """Write the logits of every case in `folder`.inputs.npz."""
    config = json.loads((folder / "config.json").read_text())
    kind = getattr(transformers, config["architectures"][0])
    model = kind.from_pretrained(str(folder), dtype=torch.float32, attn_implementation="eager").float().eval()
    marker = config.get("image_token_id", config.get("image_token_index"))
    accepted = {
        name for part in (model, getattr(model, "model", model)) for name in inspect.signature(part.forward).parameters
    }
    cases: dict[str, dict[str, Any]] = {}
    with np.load(folder.with_name(f"{folder.name}.inputs.npz")) as file:
        for name in file.files:
            case, _, key = name.partition(".")
            cases.setdefault(case, {})[key] = torch.from_numpy(file[name])
    computed = {}
    for case, given in cases.items():
        if "pixel_values" in given:
            if config["model_type"] == "internvl":
                given["pixel_values"] = given["pixel_values"].flatten(0, 1)  # mlx-vlm has one row a prompt
            marks = (given["input_ids"] == marker).long()
            given.update({key: marks for key in MARKED if key in accepted})
        with torch.inference_mode():
            computed[case] = model(**given, use_cache=False).logits[0].float().numpy()
    np.savez(folder.with_name(f"{folder.name}.torch.npz"), **computed)


if __name__ == "__main__":
    for each in map(Path, sys.argv[1:]):
        compute(each)
