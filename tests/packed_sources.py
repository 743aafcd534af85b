"""Sources of one packed layer in each integer form, with what their layer stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- the second implementation computes with it
import numpy as np

import packed_writers as writers
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.engine.unpacking import derived_of
from mlx_publish.model.packed import packing_of
from mlx_publish.model.weights import read_header
from packed_writers import Layer, Numbers, layer
from tensor_file import write_tensors

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": False, "desc_act": False}
V2 = GPTQ | {"checkpoint_format": "gptq_v2"}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}
ROUND = {"quant_method": "auto-round", "bits": 4, "group_size": 32, "sym": False}


def ct(bits: int = 4, group: int | None = 32, *, symmetric: bool = True, **more: Any) -> dict[str, Any]:
    """A config of compressed-tensors."""
    strategy = "group" if group else "channel"
    weights = {"num_bits": bits, "type": "int", "group_size": group, "strategy": strategy, "symmetric": symmetric}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights | more}},
    }


class Source:
    """A folder with one packed layer."""

    def __init__(self, folder: Path, tensors: Mapping[str, Numbers], block: Mapping[str, Any], dtype: str) -> None:
        folder.mkdir(exist_ok=True)
        path = folder / "model.safetensors"
        write_tensors(path, writers.named("model.layers.0.mlp.up_proj", tensors))
        config = {"model_type": "llama", "quantization_config": block} if block else {"model_type": "llama"}
        packing = packing_of(config, {}, read_header(path), dtype)
        assert packing is not None
        self.path, self.packing, self.files = path, packing, TensorFiles(folder)
        ((self.name, self.derived),) = derived_of(packing).items()

    def read(self, first: int = 0, last: int | None = None) -> Numbers:
        """Rows by numpy."""
        shape = self.derived.shape
        return self.derived.read(self.files, first, last or int(np.prod(shape[:-1])))

    def mlx(self) -> Numbers:
        """The bits of all rows as MLX computes them."""
        arrays: Any = mx.load(str(self.path))
        array = self.derived.array({name: arrays[name] for name in self.derived.takes})
        assert (tuple(array.shape), array.dtype) == (self.derived.shape, self.derived.dtype)
        bits = array.view({2: mx.uint16, 4: mx.uint32}[array.dtype.size])
        return np.array(bits).reshape(-1, array.shape[-1])


Case = tuple[Layer, dict[str, Numbers], dict[str, Any]]


def case(of: Layer, write: Callable[..., dict[str, Numbers]], block: dict[str, Any], **how: Any) -> Case:
    """A layer, its tensors and the config."""
    return of, write(of, **how), block


def gptq_bits(bits: int, **how: Any) -> Case:
    return case(layer(64, 96, bits=bits, seed=bits), writers.gptq, GPTQ | {"bits": bits}, **how)


CASES: dict[str, Case] = {
    "awq": case(layer(48, 96), writers.awq, AWQ),
    "awq with one group": case(layer(48, 96, group=0), writers.awq, AWQ | {"group_size": -1}),
    "awq with scales in bfloat16": case(layer(48, 96, kind="bfloat16"), writers.awq, AWQ),
    "awq without a config": case(layer(48, 96), writers.awq, {}),
    "awq by AutoRound": case(layer(48, 96), writers.awq, ROUND | {"packing_format": "auto_round:auto_awq"}),
    "awq gemv": case(layer(48, 96), writers.awq_gemv, AWQ | {"version": "GEMV"}),
    "awq gemv of 128": case(layer(16, 384, group=128), writers.awq_gemv, AWQ | {"version": "gemv", "group_size": 128}),
    "gptq": gptq_bits(4),
    "gptq without g_idx": gptq_bits(4, with_index=False),
    "gptq of 2 bits": gptq_bits(2),
    "gptq of 3 bits": gptq_bits(3),
    "gptq of 8 bits": gptq_bits(8),
    "gptq v2": case(layer(64, 96), writers.gptq, V2, minus=0),
    "gptq v2 of 3 bits": case(layer(64, 96, bits=3), writers.gptq, V2 | {"bits": 3}, minus=0),
    "gptq with one group": case(layer(64, 96, group=0), writers.gptq, GPTQ | {"group_size": -1}),
    "gptq with a last group that is shorter": case(
        layer(32, 160, group=128), writers.gptq, GPTQ | {"group_size": 128}
    ),
    "gptq in another order": case(layer(64, 96, permuted=True), writers.gptq, GPTQ | {"desc_act": True}),
    "gptq of 3 bits in another order": case(
        layer(64, 96, bits=3, permuted=True), writers.gptq, GPTQ | {"bits": 3, "desc_act": True}
    ),
    "gptq symmetric": case(layer(64, 96, symmetric=True), writers.gptq, GPTQ | {"sym": True}),
    "gptq symmetric v2": case(layer(64, 96, symmetric=True), writers.gptq, V2 | {"sym": True}, minus=0),
    "gptq without zero points": case(
        layer(64, 96, symmetric=True), writers.gptq, GPTQ | {"sym": True}, with_zeros=False
    ),
    "gptq without a config": case(layer(64, 96, symmetric=True), writers.gptq, {}),
    "gptq v2 without a config": case(layer(64, 96, symmetric=True), writers.gptq, {}, minus=0),
    "gptq with bits of its own": case(
        layer(64, 96, bits=8), writers.gptq, GPTQ | {"dynamic": {r"+:.*up_proj": {"bits": 8}}}
    ),
    "gptq by AutoRound": case(layer(64, 96), writers.gptq, ROUND | {"packing_format": "auto_round:auto_gptq"}),
    "gptq by AutoRound as transformers takes it": case(layer(64, 96), writers.gptq, ROUND),
    "AutoRound's own": case(layer(64, 96), writers.gptq, ROUND | {"packing_format": "auto_round"}, minus=0),
    "compressed": case(layer(40, 96, symmetric=True), writers.compressed, ct(), symmetric=True),
    "compressed in bfloat16": case(
        layer(40, 96, symmetric=True, kind="bfloat16"), writers.compressed, ct(), symmetric=True
    ),
    "compressed asymmetric": case(layer(40, 96), writers.compressed, ct(symmetric=False), symmetric=False),
    "compressed asymmetric with odd rows": case(
        layer(37, 96), writers.compressed, ct(symmetric=False), symmetric=False
    ),
    "compressed by channel": case(
        layer(40, 96, group=0, symmetric=True), writers.compressed, ct(group=None), symmetric=True
    ),
    "compressed by channel, asymmetric": case(
        layer(40, 96, group=0, bits=8), writers.compressed, ct(8, None, symmetric=False), symmetric=False
    ),
    "compressed of 8 bits": case(
        layer(40, 96, bits=8, symmetric=True), writers.compressed, ct(8), symmetric=True
    ),
    "compressed in another order": case(
        layer(40, 96, symmetric=True, permuted=True), writers.compressed, ct(actorder="group"), symmetric=True,
        with_index=True,
    ),
    "compressed of an earlier version": case(
        layer(40, 128, bits=3), writers.compressed, ct(3, symmetric=False), symmetric=False, padded=True
    ),
    "bytes by channel": case(
        layer(40, 96, bits=8, group=0, symmetric=True), writers.in_bytes, ct(8, None), symmetric=True
    ),
    "bytes by group": case(layer(40, 96, bits=8), writers.in_bytes, ct(8, symmetric=False), symmetric=False),
}  # fmt: skip
CASES |= {
    f"compressed of {bits} bits, asymmetric": case(
        layer(40, 96, bits=bits, seed=bits), writers.compressed, ct(bits, symmetric=False), symmetric=False
    )
    for bits in range(2, 9)
}
