"""A plan as text: what a person reads first stands first, and the importance of columns stands last."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlx_publish.recipes.plan import SCHEMA, Plan, PlannedModule
from mlx_publish.text.files import write_atomically

_LINE = 112
"""Characters of importance in a line, which stands four to the right."""
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_BREAKS = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")
_HEAD = """\
# Quantization plan for mlx-publish: bits and group size of each module.
# To follow it in a recipe, whatever is measured later: variants: [{plan: THIS_FILE}]
# You may change bits (2, 3, 4, 5, 6, 8; 16 leaves the module as it is) and group_size (32, 64, 128), but not below the
# floor. kld is the predicted mean KL divergence of rounding this module alone, in nats.
"""


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan file, whole or not at all."""
    write_atomically(path, plan_text(plan))


def plan_text(plan: Plan) -> str:
    """Return the file: the same text for the same plan."""
    return _HEAD + "".join(f"{line}\n" for line in _lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    yield f"schema: {SCHEMA}"
    yield f"source: {_flow(plan.source.model_dump())}"
    if plan.calibration:
        yield f"calibration: {_flow(plan.calibration.model_dump())}"
    if plan.tools:
        yield f"tools: {_flow(plan.tools)}"
    yield f"target: {_flow(plan.target)}"
    if plan.target_words:
        yield f"target_words: {_scalar(plan.target_words)}"
    if plan.proxy:
        yield f"proxy: {_scalar(plan.proxy)}"
    if plan.need_bytes is not None:
        yield f"need_bytes: {plan.need_bytes}"
    yield f"bits_per_weight: {plan.bits_per_weight:.4f}"
    yield f"predicted_kld: {_number(plan.predicted_kld)}"
    yield f"chosen: {_scalar(plan.chosen)}"
    yield f"rounding: {plan.rounding}"
    if plan.dtype_bytes != 2:
        yield f"dtype_bytes: {plan.dtype_bytes}"
    yield f"others: {_flow(plan.others.model_dump())}"
    yield "modules:"
    for path, module in plan.modules.items():
        yield f"  {_scalar(path)}: {_flow(_module(path, module))}"
    if plan.importance:
        yield "# How much flows through each column of an input, by which its modules' scales are chosen. Do not edit."
        yield "importance:"
        for key, columns in plan.importance.items():
            yield f"  {_scalar(key)}: |"
            yield from (f"    {line}" for line in _cut(columns))


def _module(path: str, module: PlannedModule) -> Mapping[str, object]:
    """Return the keys of a module's line: those that say nothing are left out."""
    keys: dict[str, object] = {"bits": module.bits}
    if module.group_size:
        keys["group_size"] = module.group_size
    keys |= {"kld": module.kld, "kind": module.kind, "weights": module.weights}
    if module.floor > 2:
        keys["floor"] = module.floor
    if module.input and module.input != path:
        keys["input"] = module.input
    return keys


def _cut(columns: str) -> Iterable[str]:
    return (columns[start : start + _LINE] for start in range(0, max(1, len(columns)), _LINE))


def _flow(keys: Mapping[Any, object]) -> str:
    return f"{{{', '.join(f'{_scalar(key)}: {_scalar(value)}' for key, value in keys.items())}}}"


def _scalar(value: object) -> str:
    """Return a value as YAML; a text in quotes wherever it could be read as anything else."""
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in ("null", "true", "false")
        return value if plain else _escaped(value)
    return json.dumps(value)


def _escaped(text: str) -> str:
    """Return a text in quotes; JSON is YAML but for what YAML takes for the end of a line, or for no character."""
    quoted = json.dumps(text.encode("utf-8", "replace").decode(), ensure_ascii=False)
    return _BREAKS.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)


def _number(value: float) -> str:
    """Return a number with six significant digits, as a float in YAML."""
    text = f"{value:.6g}"
    return text if "." in text or "e" in text else f"{text}.0"
