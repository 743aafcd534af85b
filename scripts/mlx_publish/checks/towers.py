"""The parts of a converted model that see or hear: kept as the recipe says, and claimed by config.json as they are."""

from __future__ import annotations

from mlx_publish.checks.base import Check, Says, failed, passed, warned
from mlx_publish.checks.output import AGAIN, Built
from mlx_publish.evidence.conversion import Towers
from mlx_publish.model.config import DTYPES
from mlx_publish.model.senses import in_words, kinds_in, senses_in
from mlx_publish.text.numbers import size

_NAMED = 3


def _has_towers(built: Built) -> bool:
    return built.towers is not None


def _towers(built: Built) -> Towers:
    if built.towers is None:
        raise ValueError("asked of a text model")
    return built.towers


def _kept(built: Built) -> Says:
    asked, tensors = _towers(built), built.tower_tensors
    if not tensors:
        return failed("nothing that sees or hears was written", AGAIN)
    packed = [tensor.name for tensor in tensors if tensor.name.endswith(".scales")]
    types = sorted({DTYPES[tensor.dtype] for tensor in tensors if tensor.dtype in DTYPES})
    senses, nbytes = in_words(tensor.name for tensor in tensors), sum(tensor.nbytes for tensor in tensors)
    words = f"{len(tensors):,} tensors for {senses}, {size(nbytes)}: "
    if asked.bits is None and packed:
        return failed(f"{words}{len(packed):,} layers are quantized, and nobody asked for it", AGAIN)
    if asked.bits is None:
        words += f"unquantized, {' and '.join(types)}"
    else:
        words += f"{asked.quantized:,} linear layers at {asked.bits} bits in groups of {asked.group_size}"
    words += f"{_wider(asked, types)}; bits per weight are those of the language model alone"
    if asked.whole:
        more = f" and {len(asked.whole) - _NAMED:,} more" if len(asked.whole) > _NAMED else ""
        return warned(
            f"{words}; groups do not divide {', '.join(asked.whole[:_NAMED])}{more}, left unquantized",
            "Use a smaller group_size for towers, or towers: keep.",
        )
    return passed(words, tensors=len(tensors), quantized=asked.quantized)


def _wider(asked: Towers, types: list[str]) -> str:
    if not asked.refused:
        return ""
    kept = " and ".join(name for name in types if name != asked.refused) or "their type"
    return (
        f"; {asked.refused} was asked for, and they keep {kept}: what an encoder computes exceeds 65,504, where "
        f"{asked.refused} ends"
    )


def _claims(built: Built) -> Says:
    """Compare the parts that config.json describes with those that have weights."""
    claimed = {key: kinds_in([key]) for key in senses_in(built.config)}
    there = kinds_in(tensor.name for tensor in built.tower_tensors)
    empty = [key for key, kinds in claimed.items() if not kinds & there]
    if empty:
        return failed(f"config.json describes {', '.join(empty)}, and no weights are written for it", AGAIN)
    silent = sorted(there - set().union(*claimed.values()))
    if silent:
        return failed(f"weights for {' and '.join(silent)} are written that config.json says nothing of", AGAIN)
    lost = [key for key in ("architectures", "model_type") if built.config.get(key) is None]
    if lost:
        return failed(f"config.json lacks {', '.join(lost)}", AGAIN)
    return passed(f"config.json describes {' and '.join(sorted(there))}, of which the weights are there")


TOWERS: tuple[Check[Built], ...] = (
    Check(
        "towers-kept",
        "What sees or hears is kept as the recipe says",
        "eyes that were quantized, or lost",
        _kept,
        when=_has_towers,
    ),
    Check(
        "claims-kept",
        "config.json describes what has weights, and nothing else",
        "a model that claims eyes it does not have",
        _claims,
        when=_has_towers,
    ),
)
