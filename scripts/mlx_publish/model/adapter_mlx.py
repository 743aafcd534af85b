"""Adapters of mlx-lm, whose tensors are named after the parameters of the MLX model.

What those are, the class of the model says; `engine/adapting.py` compares names and shapes with it.
Source: mlx_lm/tuner/lora.py and dora.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlx_publish.model.adapted import Adapted, Factor, Update
from mlx_publish.model.adapter_config import AdapterConfig
from mlx_publish.model.adapter_draft import FLOATS
from mlx_publish.model.adapter_parts import Parts, complete, not_placed, of_mlx
from mlx_publish.model.weights import EMBEDDING, TensorInfo


def place_mlx(adapter: AdapterConfig, tensors: Sequence[TensorInfo]) -> Iterator[Adapted]:
    """Yield what becomes of each parameter. `Refused` naming the tensor that is no part of such an adapter."""
    if strange := next((tensor for tensor in tensors if tensor.dtype not in FLOATS), None):
        raise not_placed(strange, f"is stored as {strange.dtype}, not as floats of 16 or 32 bits", "Save it again.")
    parts = of_mlx(tensors, full=adapter.kind == "full")
    for _, tensor in parts.whole:
        if adapter.kind != "full":
            raise not_placed(tensor, f"is no part of what mlx-lm saves as {adapter.kind}", "Save the adapter again.")
        yield Adapted(tensor.name, "", tensor.shape, tensor.name, instead=tensor.name)
    for module in parts.modules:
        yield _adapted(module, adapter)


def _adapted(parts: Parts, adapter: AdapterConfig) -> Adapted:
    complete(parts, {"lora_a": True, "lora_b": True, **({"m": True} if adapter.kind == "dora" else {})})
    a, b, rank = parts.tensors["lora_a"], parts.tensors["lora_b"], adapter.rank_of(parts.module)
    name, scale = f"{parts.module}.weight", adapter.scale_of(parts.module)
    if len(a.shape) == 3 and len(b.shape) == 3:  # (experts, rank, in) and (experts, out, rank)
        experts, rows = a.shape[0], b.shape[1]
        if a.shape[1] != rank or b.shape[2] != rank or b.shape[0] != experts or "m" in parts.tensors:
            raise _unfit(a, b, rank)
        updates = tuple(
            Update(at * rows, rows, Factor(b.name, False, at, experts), Factor(a.name, False, at, experts), scale, rank)
            for at in range(experts)
        )
        return Adapted(name, "", (experts, rows, a.shape[2]), name, updates=updates)
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[1] != rank or b.shape[0] != rank:
        raise _unfit(a, b, rank)
    embedding = bool(EMBEDDING.search(name))
    shape = (a.shape[0], b.shape[1]) if embedding else (b.shape[1], a.shape[0])
    left, right = (a, b) if embedding else (b, a)
    update = Update(0, shape[0], Factor(left.name, not embedding), Factor(right.name, not embedding), scale, rank)
    magnitude = parts.tensors.get("m")
    if magnitude is not None and magnitude.shape != shape[:1]:
        raise not_placed(magnitude, f"has the shape {list(magnitude.shape)} for {shape[0]:,} rows")
    return Adapted(name, "", shape, name, updates=(update,), magnitude=magnitude.name if magnitude else None)


def _unfit(a: TensorInfo, b: TensorInfo, rank: int) -> Exception:
    shapes = f"{list(a.shape)} and {list(b.shape)}"
    return not_placed(a, f"and its pair have the shapes {shapes}, and adapter_config.json says rank {rank}")
