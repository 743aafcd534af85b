"""config.json as mlx-lm reads it: older spellings beside the newer ones, nothing else changed."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

from mlx_publish.model.draft import MODEL, Change
from mlx_publish.model.spellings import add_spellings, wrap
from mlx_publish.model.spellings_senses import STRICT, add_sense_spellings

LARGEST = 3.4028234663852886e38
"""Of float32; above the largest of bfloat16, which rounds it back to infinity."""
# Keys of transformers 5's rope_parameters that describe a scaling, beside the base frequency.
_ROPE_OWN = frozenset({"rope_theta", "rope_type", "partial_rotary_factor"})
# mlx-lm's whole models of these types write the size on top, or their default, over that of the text part.
VOCABULARY_ON_TOP = frozenset({"gemma3", "gemma4", "gemma4_unified"})


def normalise_config(config: Mapping[str, object], *, senses: bool = False) -> tuple[dict[str, Any], list[Change]]:
    """Return the config with older spellings added, and what was added; with `senses` it is for mlx-vlm.

    - `dtype` -> `torch_dtype`: mlx-lm reads only the latter, and would leave float32 weights as they are.
    - `rope_parameters` -> `rope_theta`, `rope_scaling`, `partial_rotary_factor`: some thirty architectures of mlx-lm
      read only these, and would take their own default base.

    Values that are there already stay. Parameters by layer type (`full_attention: {...}`) have no older spelling;
    the check of the built model says whether they arrived.
    """
    result: dict[str, Any] = copy.deepcopy(dict(config))
    changes: list[Change] = []
    changes += plain_floats(result)
    changes += [] if senses else wrap(result)
    parts = [("", result)]
    if isinstance(result.get("text_config"), dict) and not (senses and result.get("model_type") in STRICT):
        parts.append(("text_config.", result["text_config"]))
    library = "mlx-vlm" if senses else "mlx-lm"
    for prefix, part in parts:
        kind = str(part.get("model_type") or result.get("model_type") or "")
        for change in (*_dtype(part), *_rope(part), *add_spellings(part, kind, library)):
            changes.append(Change(MODEL, f"{prefix}{change.key}", f"{prefix}{change.message}"))
        for key in ("rope_scaling", "rope_parameters"):
            rope = part.get(key)
            changes += _yarn(rope, part, f"{prefix}{key}")
            for name, below in rope.items() if isinstance(rope, dict) else ():
                changes += _yarn(below, part, f"{prefix}{key}.{name}")
    changes += _beside_text_part(result)
    # mlx-lm looks for the type on top only, also where a multimodal config nests it.
    text = result.get("text_config")
    nested = text.get("torch_dtype", text.get("dtype")) if isinstance(text, dict) else None
    if nested and "torch_dtype" not in result:
        result["torch_dtype"] = nested
        changes.append(_change("torch_dtype", f"{nested} from text_config"))
    changes += add_sense_spellings(result) if senses else []
    return result, changes


def _change(key: str, rest: str) -> Change:
    """Return a change whose message begins with its key."""
    return Change(MODEL, key, f"{key} {rest}")


def _yarn(rope: object, part: Mapping[str, object], where: str) -> list[Change]:
    """Write what transformers takes where a config says nothing or uses a key that mlx-lm's yarn does not know."""
    if not isinstance(rope, dict) or (rope.get("rope_type") or rope.get("type")) != "yarn":
        return []
    changes: list[Change] = []
    context = part.get("original_max_position_embeddings") or part.get("max_position_embeddings")
    if rope.get("original_max_position_embeddings") is None and type(context) is int:
        rope["original_max_position_embeddings"] = context
        changes = [_change(f"{where}.original_max_position_embeddings", f"{context} from max_position_embeddings")]
    return changes + _factor_of_yarn(rope, where)


def _factor_of_yarn(rope: dict[str, Any], where: str) -> list[Change]:
    """Let a class compute the factor that a config names: mlx-lm makes it of `mscale`.

    It is 1 + 0.1 * mscale * ln(factor), over the same of `mscale_all_dim`, which is 0 by default.
    """
    wanted, factor = rope.get("attention_factor"), rope.get("factor")
    if not isinstance(wanted, (int, float)) or not isinstance(factor, (int, float)) or factor <= 1:
        return []
    scale = rope.get("mscale")
    now = 1 + 0.1 * (scale if isinstance(scale, (int, float)) else 1) * math.log(factor)
    if rope.get("mscale_all_dim") or math.isclose(wanted, now, rel_tol=1e-6):
        return []
    rope["mscale"] = (wanted - 1) / (0.1 * math.log(factor))
    return [_change(f"{where}.mscale", f"{rope['mscale']:g} from attention_factor {wanted:g}")]


def _beside_text_part(result: dict[str, Any]) -> list[Change]:
    """Write keys of a wrapper and of its text part where mlx-lm's class reads them."""
    text, changes = result.get("text_config"), list[Change]()
    if not isinstance(text, dict):
        return changes
    # transformers 5 ties a wrapper's head by the key on top; mlx-lm's classes read that of the text part.
    tied = result.get("tie_word_embeddings")
    if isinstance(tied, bool) and text.get("tie_word_embeddings") != tied:
        text["tie_word_embeddings"] = tied
        message = f"{str(tied).lower()} from tie_word_embeddings on top"
        changes.append(_change("text_config.tie_word_embeddings", message))
    # mlx-lm's whole models of these types take their default over the size of the text part.
    size = text.get("vocab_size") if result.get("model_type") in VOCABULARY_ON_TOP else None
    if type(size) is int and result.get("vocab_size") is None:
        result["vocab_size"] = size
        changes.append(_change("vocab_size", f"{size} on top from text_config"))
    return changes


def plain_floats(config: dict[str, Any]) -> list[Change]:
    """Write infinities, which JSON lacks, as the largest float32, which bounds nothing either; return the changes.

    Python writes `Infinity`, which other readers of JSON refuse, and transformers 5 `{"__float__": "Infinity"}`,
    which mlx-lm takes for a mapping. NaN is written as it is: the check of the source refuses it.
    """
    changes: list[Change] = []

    def plain(value: Any, path: str) -> Any:
        if isinstance(value, list):
            return [plain(item, path) for item in value]
        number = tagged_float(value)
        if number is None:
            return {key: plain(item, f"{path}.{key}") for key, item in value.items()} if type(value) is dict else value
        if math.isinf(number):
            changes.append(_change(path.removeprefix("."), f"{number} as {math.copysign(LARGEST, number):.2e}"))
            return math.copysign(LARGEST, number)
        return number

    config.update(plain(config, ""))
    return list(dict.fromkeys(changes))


def tagged_float(value: object) -> float | None:
    """Return the number of a float or of transformers 5's `{"__float__": "Infinity"}`; None if it is neither."""
    if isinstance(value, Mapping) and value.keys() == {"__float__"}:
        try:
            return float(str(value["__float__"]))
        except ValueError:
            return None
    return value if isinstance(value, float) else None


def _dtype(part: dict[str, Any]) -> list[Change]:
    value = part.get("dtype")
    if not isinstance(value, str) or "torch_dtype" in part:
        return []
    part["torch_dtype"] = value.removeprefix("torch.")
    return [_change("torch_dtype", f"{part['torch_dtype']} from dtype")]


def _rope(part: dict[str, Any]) -> list[Change]:
    new = part.get("rope_parameters")
    if not isinstance(new, Mapping) or any(isinstance(value, Mapping) for value in new.values()):
        return []
    changes: list[Change] = []
    for key in ("rope_theta", "partial_rotary_factor"):
        if key in new and part.get(key) is None:
            part[key] = new[key]
            changes.append(_change(key, f"{new[key]} from rope_parameters"))
    kind = new.get("rope_type", "default")
    if kind != "default" and not part.get("rope_scaling"):
        scaling = {key: value for key, value in new.items() if key not in _ROPE_OWN}
        # `type` is what transformers 4 wrote; some architectures look for no other.
        part["rope_scaling"] = {"type": kind, "rope_type": kind, **scaling}
        changes.append(_change("rope_scaling", f"{kind} from rope_parameters"))
    first = new.get("original_max_position_embeddings")
    if kind == "longrope" and first is not None and part.get("original_max_position_embeddings") is None:
        # phi3 looks for it on top only, and would take its own default.
        part["original_max_position_embeddings"] = first
        changes.append(_change("original_max_position_embeddings", f"{first} from rope_parameters"))
    return changes


def declared_thetas(config: Mapping[str, Any]) -> set[float]:
    """Return all base frequencies of rope that a config names, in any spelling."""
    thetas: set[float] = set()
    for part in (config, config.get("text_config") or {}):
        for key in ("rope_theta", "rope_local_base_freq", "rotary_emb_base", "global_rope_theta", "local_rope_theta"):
            thetas |= _numbers(part.get(key))
        rope = part.get("rope_parameters") or {}
        for entry in (rope, *(value for value in rope.values() if isinstance(value, Mapping))):
            thetas |= _numbers(entry.get("rope_theta"))
    return thetas


def declared_scaling(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the scaling of rope that a config names for all layers, or None if there is none."""
    for part in (config, config.get("text_config") or {}):
        for key in ("rope_scaling", "rope_parameters"):
            value = part.get(key)
            kind = (value.get("rope_type") or value.get("type")) if isinstance(value, Mapping) else None
            if isinstance(value, Mapping) and kind not in (None, "default"):
                return {**value, "rope_type": kind}
    return None


def _numbers(value: object) -> set[float]:
    return {float(value)} if isinstance(value, (int, float)) and not isinstance(value, bool) else set()
