"""Plan files of a conversion: made from an allocation, followed, and summed up for evidence."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlx_publish import __version__
from mlx_publish.context import Context
from mlx_publish.errors import BadInput, Place
from mlx_publish.evidence.quantization import PLAN_FILE, Calibration, PlanGroup, PlanSummary, Quantization
from mlx_publish.evidence.records import to_json
from mlx_publish.evidence.sensitivities import WHOLE, ModuleSensitivity, Sensitivities, rung_key, rung_of
from mlx_publish.methods.plan import Target
from mlx_publish.model.allocation import Allocation
from mlx_publish.model.weights import TensorInfo
from mlx_publish.recipes.plan import (
    Others,
    Plan,
    PlannedCalibration,
    PlannedModule,
    PlannedSource,
    digest_of_choice,
    read_plan,
)
from mlx_publish.source.calibration import calibration_record
from mlx_publish.source.layout import Prepared
from mlx_publish.source.resolve import converter, source_of
from mlx_publish.text.yaml import parse_yaml

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
_BITS = 8


def plan_from(context: Context, target: Target, of: Sensitivities, allocation: Allocation, need: int | None) -> Plan:
    """Return the plan of an allocation, with the importance that its modules use."""
    modules = {module.path: _module(module, allocation.rungs[module.path]) for module in of.modules}
    used = {module.input for module in modules.values() if module.group_size}
    first = next(iter(of.modules))
    dtype_bytes = first.rungs[rung_key(WHOLE)].bytes // (first.weights or 1)
    return Plan(
        source=PlannedSource(name=context.recipe.source_name[:200], identity=source_of(context).identity),
        calibration=PlannedCalibration.model_validate(to_json(calibration_record(context, "plan"))),
        tools={"mlx-publish": __version__, **converter(context).versions()},
        target=target.keys,
        target_words=target.words,
        proxy=of.proxy,
        need_bytes=need,
        bits_per_weight=_BITS * (allocation.bytes + of.other_bytes) / of.weights,
        predicted_kld=allocation.kld,
        chosen=digest_of_choice(modules),
        rounding="weighted" if used - {""} else "nearest",
        dtype_bytes=4 if dtype_bytes == 4 else 2,
        others=Others(weights=of.other_weights, bytes=of.other_bytes),
        modules=modules,
        importance={key: text for key, text in of.importance.items() if key in used},
    )


def _module(module: ModuleSensitivity, rung: str) -> PlannedModule:
    bits, group_size = rung_of(rung)
    return PlannedModule.model_validate(
        {
            "bits": bits,
            "group_size": group_size,
            "kld": max(0.0, module.rungs[rung].kld),
            "kind": module.kind,
            "weights": module.weights,
            "floor": module.floor,
            "input": module.input if group_size else "",
        }
    )


def followed_file(context: Context, given: Path, path: Path, prepared: Prepared) -> Plan:
    """Copy a plan file into the variant's work folder, byte for byte, and return it.

    `BadInput` names the first module that the source does not have, or has in another shape.
    """
    plan = read_plan(given)
    if found := _difference(plan, prepared.tensors):
        key, message = found
        raise BadInput(
            f"{message}: this is the plan of another model ({plan.source.name})",
            place=_place(given, key),
            key=key,
            remedy=f"Make a plan of {context.recipe.source_name} with target_bpw, fits or aim, and pin that one.",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.copied")
    shutil.copyfile(given, aside)
    aside.replace(path)
    return plan


@contextmanager
def named_as_given(given: Mapping[str, Path]) -> Iterator[None]:
    """Let an error in the copy of a plan file name the user's own, `given` by the path of the copy, with its line."""
    try:
        yield
    except BadInput as error:
        if error.place.name not in given:
            raise
        place = _place(given[error.place.name], error.key)
        raise BadInput(error.message, place=place, key=error.key, remedy=error.remedy) from None


def _place(given: Path, key: str) -> Place:
    """Return where a plan file has a key, or what is nearest above it."""
    lines = parse_yaml(given.read_text(encoding="utf-8"), str(given), most=1 << 22, largest=1 << 26)[1]
    while key and key not in lines:
        key = key.rpartition(".")[0]
    return Place(str(given), lines.get(key, 1))


def _difference(plan: Plan, tensors: Sequence[TensorInfo]) -> tuple[str, str] | None:
    """Compare what the source's headers can tell: modules of the same name, and how many of a kind there are.

    What a class of mlx-lm renames or joins is compared where the model is built.
    """
    sizes = {t.name.removesuffix(".weight"): t.size for t in tensors if t.name.endswith(".weight") and len(t.shape) > 1}
    shapes = _by_pattern(sizes)
    for path, module in plan.modules.items():
        if path in sizes and sizes[path] != module.weights:
            return f"modules.{path}.weights", f"the source's module has {sizes[path]:,} weights, not {module.weights:,}"
        if path not in sizes and _NUMBER.sub("#", path) in shapes:
            return f"modules.{path}", "the source has no such module"
    planned = _by_pattern(plan.modules)
    missing = next((path for path in sizes if path not in plan.modules and _NUMBER.sub("#", path) in planned), None)
    return None if missing is None else ("modules", f"{missing} of the source is missing")


def _by_pattern(paths: Iterable[str]) -> frozenset[str]:
    return frozenset(_NUMBER.sub("#", path) for path in paths if _NUMBER.search(path))


def quantization_of(plan: Plan, sha256: str, *, pinned: bool) -> Quantization:
    """Return what evidence says of a planned variant; for a `pinned` plan nothing was read."""
    read = None if pinned or plan.calibration is None else Calibration(**plan.calibration.model_dump())
    return Quantization("plan", deterministic=True, calibration=read, plan=summary(plan, sha256))


def summary(plan: Plan, sha256: str) -> PlanSummary:
    """Return a plan at a glance, with its modules by kind in the order of the model."""
    kinds: dict[str, list[PlannedModule]] = {}
    for module in plan.modules.values():
        kinds.setdefault(module.kind, []).append(module)
    return PlanSummary(
        file=PLAN_FILE,
        sha256=sha256,
        target=(plan.target_words or "a plan file") + (", edited by hand" if plan.edited else ""),
        bits_per_weight=round(plan.bits_now, 4),
        rounding=plan.rounding,
        groups=[_group(plan, kind, modules) for kind, modules in kinds.items()],
        proxy=plan.proxy or None,
        need_bytes=plan.need_bytes,
    )


def _group(plan: Plan, kind: str, modules: Sequence[PlannedModule]) -> PlanGroup:
    weights = sum(module.weights for module in modules)
    by_width = sorted(modules, key=lambda module: (module.bits, -module.group_size))
    return PlanGroup(
        kind=kind,
        modules=len(modules),
        weights=weights,
        bits_per_weight=round(_BITS * sum(map(plan.module_bytes, modules)) / (weights or 1), 4),
        least=by_width[0].rung,
        most=by_width[-1].rung,
        predicted_kld=float(f"{sum(module.kld for module in modules):.6g}"),
    )
