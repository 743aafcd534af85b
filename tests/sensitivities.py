"""Sensitivities made up for tests: a model's shapes, with divergences that fall by four for each bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mlx_publish.evidence.sensitivities import ModuleSensitivity, RungCost, Sensitivities
from mlx_publish.model.weights import read_header

RUNGS = tuple((bits, group) for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64, 128))


def module(path: str, weights: int, weight: float, *, floor: int = 2, kind: str = "mlp") -> ModuleSensitivity:
    """Make a module whose divergence at 4 bits is `weight` millinats."""
    rungs = {
        f"{bits}/{group}": RungCost(
            weights * bits // 8 + 4 * weights // group, 1e-3 * weight * 4.0 ** (4 - bits) * (group / 64) ** 0.5
        )
        for bits, group in RUNGS
        if weights % group == 0
    }
    return ModuleSensitivity(path, kind, weights, floor, {**rungs, "16/0": RungCost(2 * weights, 0.0)}, path)


def made_up(
    layers: int = 2, hidden: int = 64, wide: int = 128, vocab: int = 512, kv: int | None = None, *, proxy: str = ""
) -> Sensitivities:
    """Make those of a llama with tied embeddings."""
    modules = list(_modules(layers, hidden, wide, vocab, kv or hidden // 2))
    norms = (2 * layers + 1) * hidden
    return Sensitivities(
        modules,
        {each.input: "0123456789ab"[: each.weights % 5 + 3] * (hidden // 4) for each in modules},
        2 * norms,
        tokens=1024,
        tokens_sha256="7" * 64,
        computed_in="float32",
        proxy=proxy,
        other_weights=norms,
    )


def measured_of(folder: Path) -> Sensitivities:
    """Make those of a model's folder, whose tensors are called as in MLX."""
    tensors = read_header(folder / "model.safetensors")
    matrices = {t.name.removesuffix(".weight"): t for t in tensors if len(t.shape) == 2}
    modules = [
        module(
            path,
            t.size,
            0.3 + n % 7 * 0.4,
            floor=4 if "embed" in path else 2,
            kind="mlp" if "mlp" in path else "attention",
        )
        for n, (path, t) in enumerate(sorted(matrices.items()))
    ]
    others = [t for t in tensors if len(t.shape) != 2]
    return Sensitivities(
        modules,
        {path: ("0123456789abcdef" * t.shape[1])[: t.shape[1]] for path, t in matrices.items()},
        sum(t.nbytes for t in others),
        tokens=1024,
        tokens_sha256="7" * 64,
        computed_in="float32",
        other_weights=sum(t.size for t in others),
    )


def _modules(layers: int, hidden: int, wide: int, vocab: int, kv: int) -> Iterator[ModuleSensitivity]:
    yield module("model.embed_tokens", vocab * hidden, 4.0, floor=4, kind="embedding")
    sizes = {"q": hidden * hidden, "k": hidden * kv, "v": hidden * kv, "o": hidden * hidden}
    for layer in range(layers):
        at = f"model.layers.{layer}"
        for n, (name, size) in enumerate(sizes.items()):
            yield module(f"{at}.self_attn.{name}_proj", size, 0.2 + 0.3 * n + 0.01 * layer, kind="attention")
        for n, name in enumerate(("gate", "up", "down")):
            yield module(f"{at}.mlp.{name}_proj", hidden * wide, 0.5 + 0.4 * n + 0.02 * layer)
