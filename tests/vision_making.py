"""Makes tiny vision-language models with torch and transformers, and what these compute of them.

    python vision_making.py OUT NAME ...

writes OUT/NAME, a source folder as on the Hub, in the Python of the reference environment. The weights are random and
large enough for every part to show in the logits.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

import torch  # noqa: TID251
import transformers  # noqa: TID251
from safetensors.torch import load_file, save_file

from vision_families import FAMILIES, Family
from vision_tokens import byte_fallback, byte_level

NOISE = 0.1


def make(out: Path, name: str, *, saved: bool = False, dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> Path:
    """Write the model `name` to the folder `out`.

    config.json is spelled as in the family's repositories, or with `saved` as this transformers writes it.
    """
    one = FAMILIES[name]()
    out.mkdir(parents=True)
    write_json(out / "config.json", one.config)
    config = transformers.AutoConfig.from_pretrained(str(out))
    kind = getattr(transformers, one.config["architectures"][0])
    torch.manual_seed(seed)
    model = kind._from_config(config, dtype=dtype, attn_implementation="eager")
    spread(model, seed)
    model.save_pretrained(str(out))
    if not saved:
        rename(out / "model.safetensors", one.renamed)
        write_json(out / "config.json", {**one.config, "torch_dtype": str(dtype).removeprefix("torch.")})
    write_rest(out, one, saved=saved)
    return out


def spread(model: Any, seed: int) -> None:
    """Give every weight a size that shows, and every bias and norm a value of its own."""
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for _, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim > 1:
                weight.copy_(noise * weight[0].numel() ** -0.5)
            else:
                weight.add_(noise * NOISE)


def rename(file: Path, renamed: tuple[tuple[str, str], ...]) -> None:
    """Give the tensors of a file the names that they have in the family's repositories."""
    if not renamed:
        return
    tensors = {}
    for name, tensor in load_file(str(file)).items():
        for pattern, replacement in renamed:
            name = re.sub(pattern, replacement, name)  # noqa: PLW2901
        tensors[name] = tensor
    save_file(tensors, str(file), metadata={"format": "pt"})


def write_rest(out: Path, one: Family, *, saved: bool) -> None:
    """Write tokenizer, template, generation and processor configs, licence and README."""
    tokenizer = (byte_fallback if one.fallback else byte_level)(one.special)
    tokenizer.save(str(out / "tokenizer.json"))
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    added = {str(id_): {"content": token, **flags} for id_, token in enumerate(one.special)}
    settings = {"added_tokens_decoder": added, "clean_up_tokenization_spaces": False, "model_max_length": 4096}
    write_json(out / "tokenizer_config.json", {**settings, **one.tokens})
    (out / "chat_template.jinja").write_text(one.template, encoding="utf-8")
    eos = [one.special.index(token) for token in one.eos]
    ids = {"pad_token_id": 0, "eos_token_id": eos if len(eos) > 1 else eos[0]}
    write_json(out / "generation_config.json", {"_from_model_config": True, **ids})
    parts = {"image_processor": one.image, "feature_extractor": one.audio, "video_processor": one.video}
    files = {"preprocessor_config": one.image or one.audio, "video_preprocessor_config": one.video}
    if not one.own_video_file:
        del files["video_preprocessor_config"]
    if saved:
        own = one.processor or {"processor_class": one.kind}
        whole = {**own, **{key: value for key, value in parts.items() if value}}
        files = {"processor_config": whole}
    elif one.processor:
        files["processor_config"] = one.processor
    for name, content in files.items():
        if content:
            write_json(out / f"{name}.json", content)


def write_json(path: Path, content: object) -> None:
    """With two spaces, as Hugging Face writes its files."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for each in sys.argv[2:] or FAMILIES:
        name, _, form = each.partition(":")
        make(Path(sys.argv[1]) / each.replace(":", "."), name, saved=form == "saved")
