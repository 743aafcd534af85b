"""What people write out of habit from other tools, and what it is called here.

Standard library only: the command line asks it before it loads anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

KEYS: Mapping[str, str] = {
    "commit": "revision", "sha": "revision", "rev": "revision", "ref": "revision", "branch": "revision",
    "model": "source", "repo": "source", "repo_id": "source", "hf_path": "source", "model_id": "source",
    "destination": "to", "output": "to", "out": "to", "target": "to", "upload_repo": "to", "mlx_path": "to",
    "quants": "variants", "quantizations": "variants", "q_bits": "bits", "q_group_size": "group_size",
    "q_mode": "mode", "quant_predicate": "mixed", "bpw": "target_bpw", "licence": "license",
}  # fmt: skip
"""Keys of a recipe by what other tools call them."""
FLAGS: Mapping[str, str] = {f"--{other.replace('_', '-')}": f"--{key.replace('_', '-')}" for other, key in KEYS.items()}
"""The same as flags: `--hf-path` and `--q-bits` are those of mlx-lm."""
_WIDTH = re.compile(r"(?:i?q|int|uint|u|i|w|nf)?(?P<bits>[1-9]\d?)(?:b|bit|bits)?")
_GGUF = re.compile(r"i?q(?P<bits>[1-8])(?:[01]|k|km|ks|kl|kxl|xs|xxs|s|m|nl)")
_WEIGHTS = re.compile(r"w(?P<bits>[1-8])a\d+")
_UNQUANTIZED: Mapping[str, str] = {"16": "bf16", "32": "fp32"}
_OTHERS: Mapping[str, tuple[str, ...]] = {
    "fp4": ("mxfp4", "nvfp4"), "float4": ("mxfp4", "nvfp4"), "fp8": ("mxfp8",), "float8": ("mxfp8",),
    "half": ("fp16",), "f16": ("fp16",), "float16": ("fp16",), "f32": ("fp32",), "float32": ("fp32",),
    "float": ("fp32",), "full": ("fp32",), "bfloat16": ("bf16",), "bfloat": ("bf16",), "b16": ("bf16",),
}  # fmt: skip


def variants_meant(name: str) -> Iterator[str]:
    """Yield the short names that `Q4_K_M`, `int4`, `4-bit`, `fp4` or `bf-16` may stand for, the likeliest first."""
    form = re.sub(r"[\s_.-]+", "", name).casefold()
    for pattern in (_WIDTH, _GGUF, _WEIGHTS):
        if match := pattern.fullmatch(form):
            yield _UNQUANTIZED.get(match["bits"], f"{match['bits']}bit")
    yield from _OTHERS.get(form, ())
    yield form
    yield re.sub(r"[\s.-]+", "_", name).casefold()
