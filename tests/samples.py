"""Small hand-made things that the unit tests share: a recipe, a weight file, a piece of evidence."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlx_publish.checks.registry import BY_STAGE
from mlx_publish.evidence.digests import FileDigest, folder_digest, listing
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.recipes.recipe import Destination, Recipe, RecipeSpec

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WIDTHS = {"F32": 4, "BF16": 2, "F16": 2, "U32": 4, "U8": 1, "I64": 8}


def make_recipe(*, folder: Path | None = None, **keys: Any) -> Recipe:
    """A recipe for `acme/Tiny` whose variants go to `acme/Tiny-<label>`."""
    spec = RecipeSpec.model_validate({"source": str(folder) if folder else "acme/Tiny", **keys})
    destinations = {variant.label: Destination(repo=f"acme/Tiny-{variant.label}") for variant in spec.variants}
    return Recipe(spec, "tiny", folder, destinations)


def weight_file(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> bytes:
    """A safetensors file of zeros, by name, type and shape."""
    header: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + WIDTHS[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(end)


def quantized_layer(
    rows: int, columns: int, bits: int, group: int, *, mode: str = "affine", dtype: str = "BF16"
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The tensors of one layer as MLX packs them."""
    packed = {"layer.weight": ("U32", (rows, columns * bits // 32))}
    if mode != "affine":
        return {**packed, "layer.scales": ("U8", (rows, columns // group))}
    scales = (dtype, (rows, columns // group))
    return {**packed, "layer.scales": scales, "layer.biases": scales}


CAPABILITIES = {
    "system": "native",
    "two_users": "kept",
    "assistant_first": "refused",
    "tools": "listed",
    "tool_calls": {"mapping": "shown", "string": "escaped"},
    "tool_results": "shown",
    "thinking": "none",
    "thinking_unset": "",
    "reasoning": {"field": "dropped", "text": "kept"},
    "parts": "printed",
    "begin_token": "<s>",
    "date": "none",
    "generation_prompt": "<|assistant|>",
    "turn_end": "<|end|>\n",
}


def length(prompt: int, share: float) -> dict[str, Any]:
    """What a benchmark says of one length of prompt."""

    def spread(median: float) -> dict[str, float]:
        return {"median": share * median, "lowest": 0.98 * share * median, "highest": 1.02 * share * median}

    return {
        "prompt_tokens": prompt,
        "generation_tokens": 128,
        "trials": [{}] * 5,
        "prompt_tps": spread(2000.0),
        "generation_tps": spread(101.25),
        "first_token_s": spread(0.2561),
        "peak_memory_bytes": 240_000_000,
    }


def judged(stage: str, check: str, status: str, message: str, accepted: str | None = None) -> dict[str, Any]:
    """What one check said."""
    return {"stage": stage, "id": check, "status": status, "message": message, "accepted": accepted}


def rung(label: str, weight_bytes: int, bits: float, kld: float) -> dict[str, Any]:
    """One variant of a recipe beside its siblings."""
    return {
        "label": label,
        "repo": f"acme/Tiny-{label}",
        "weight_bytes": weight_bytes,
        "bits_per_weight": bits,
        "memory_bytes": weight_bytes + 188_743_680,
        "memory_tokens": 8192,
        "mean_kld": kld,
        "mean_kld_error": kld / 15,
        "same_first_choice": 0.91,
        "against": "the source",
        "generation_tps": 96.2,
        "prompt_tokens": 512,
        "device": "gpu",
        "chip": "Apple M4",
    }


REMARKS = (
    judged("inspect", "stop-ids", "pass", "generation ends at 2"),
    judged("convert", "tokenizer-portable", "fixed", "tokenizer_class PreTrainedTokenizerFast in place of none"),
    judged("smoke", "template-renders", "pass", "21 of 21 dialogues render"),
    judged("smoke", "stops", "warn", "to 'long text' it does not stop, but the unquantized model does"),
    judged("fidelity", "perplexity", "warn", "the limit is 1 (accepted: Wanted for phones)", "Wanted for phones"),
)


def list_of_checks() -> list[dict[str, Any]]:
    """All that had to run: the remarks that nobody had to accept, and of the others that they passed or did not run."""
    said = {one["id"]: one for one in copy.deepcopy(REMARKS) if one["accepted"] is None}
    stages = ("inspect", "convert", "smoke", "fidelity", "benchmark")
    ran = [(stage, check.id) for stage in stages for check in BY_STAGE[stage]]
    ran.insert(len(BY_STAGE["inspect"]), ("inspect", "room"))
    quiet = ("twin-equal", "architecture-proven", "other-engines")
    return [
        said.get(name) or judged(stage, name, "skip" if name in quiet else "pass", "as it should be")
        for stage, name in ran
    ]


FILES = tuple(FileDigest(path, 2, "a" * 64) for path in ("LICENSE", "config.json"))


def make_evidence(**changes: Any) -> dict[str, Any]:
    """What the card is made of: 4 bits of acme/Tiny, all measured on a Mac. `changes` replace top keys."""
    machine = {
        "system": "macOS 26.1",
        "arch": "arm64",
        "chip": "Apple M4",
        "cores": 10,
        "gpu_cores": 10,
        "memory_bytes": 16 << 30,
        "python": "3.12.1",
        "blas": None,
        "versions": {},
    }
    exchange = {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is the Moon?"}],
        "rendered": "<|system|>Be brief.<|user|>What is the Moon?<|assistant|>",
        "answer": "A satellite.\n",
        "tokens": [5, 6, 2],
        "prompt_tokens": 9,
        "stop": "stop",
        "stop_id": 2,
    }
    found: dict[str, Any] = {
        "schema": "mlx-publish/evidence/1",
        "generator": "0.2.0",
        "recipe": "tiny",
        "destination": {"name": "Tiny-4bit", "repo": "acme/Tiny-4bit"},
        "templates": {},
        "source": {
            "name": "Tiny", "repo": "acme/Tiny", "identity": COMMIT, "base_model": "acme/Tiny",
            "pipeline_tag": "text-generation",
        },
        "variant": {
            "label": "4bit", "quantized": True, "bits": 4, "group_size": 64, "mode": "affine", "mixed": None,
            "dtype": None,
        },
        "licence": {"id": "apache-2.0", "name": None, "link": None},
        "language": ["en"],
        "config": {"context": 8192},
        "words": {"notes": ""},
        "model": {
            "parameters": 134_515_008, "bits_per_weight": 4.5012, "weight_bytes": 75_700_000,
            "files": listing(FILES), "model": folder_digest(FILES),
        },
        "tools": {"mlx": "0.32.4", "mlx-lm": "0.32.2"},
        "smoke": {
            "chat_template": True, "system": "native", "options": {}, "exchange": exchange,
            "capabilities": copy.deepcopy(CAPABILITIES),
            "asked": {"system": "Be brief.", "prompt": "What is the Moon?"}, "computed_in": "as stored",
            "answers": {"long text": {"prompt_tokens": 556}},
        },
        "fidelity": {
            "positions": 1021, "mean_kld": 0.04512, "mean_kld_error": 0.0031, "median_kld": 0.0312, "p99_kld": 0.4123,
            "max_kld": 1.2, "same_first_choice": 0.9102, "same_first_choice_error": 0.0089, "perplexity_source": 12.345,
            "perplexity": 12.901, "perplexity_ratio": 1.04504, "perplexity_ratio_error": 0.00512,
            "by_kind": {
                "prose": {"positions": 409, "mean_kld": 0.0389, "same_first_choice": 0.9267, "perplexity_ratio": 1.0312},
                "code": {"positions": 204, "mean_kld": 0.0312, "same_first_choice": 0.9314, "perplexity_ratio": 1.0278},
                "dialogue": {"positions": 204, "mean_kld": 0.0421, "same_first_choice": 0.9118, "perplexity_ratio": 1.0421},
                "scripts": {"positions": 204, "mean_kld": 0.0745, "same_first_choice": 0.8578, "perplexity_ratio": 1.0932},
            },
            "against": {"what": "source"}, "limited": False, "computed_in": "as stored", "reference": None,
        },
        "benchmark": {
            "device": "gpu", "computed_in": "as stored", "lengths": [length(128, 1.0), length(512, 0.95)],
            "left_out": [{"prompt_tokens": 2048, "why": "180 s are not enough"}],
            "context": {"tokens": 8192, "bytes": 300_000_000}, "peak_memory_bytes": 240_000_000, "machine": machine,
        },
        "ladder": [rung("4bit", 75_700_000, 4.5012, 0.04512), rung("8bit", 143_000_000, 8.5012, 0.0031)],
        "missing": {},
        "checks": copy.deepcopy(list(REMARKS)),
    }  # fmt: skip
    return found | changes


def record(**changes: Any) -> Evidence:
    """The same as what it is read as."""
    return Evidence.of(make_evidence(**changes))
