"""Evidence beside what this job found itself: each field that inspect, convert and the recipe give, compared.

What was measured is compared with reports of the same bytes, where these lie in the work folder. The rest is claimed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlx_publish.checks.listed import MEASURED
from mlx_publish.checks.twin import MAX_NMSE
from mlx_publish.recipe import Variant
from mlx_publish.stages.assembling import assemble, bound_of, rung_of
from mlx_publish.stages.context import Context
from mlx_publish.stages.known_chat import chat_differences
from mlx_publish.stages.walk import Difference, walk

_REPORT = {
    **dict.fromkeys(("schema", "generator"), "this version"),
    **dict.fromkeys(("recipe", "destination", "templates", "variant", "words", "untested"), "the recipe"),
    **dict.fromkeys(("source", "licence", "language", "config", "proof"), "inspect.json"),
    **dict.fromkeys(("model", "tools"), "convert.json"),
    **{stage: f"{stage}.json" for stage in MEASURED},
}
"""By top key, what knows it."""
_SURE = tuple(key for key in _REPORT if key not in ("proof", *MEASURED))
_BY_THE_HOUR = frozenset({"not-taken", "revision"})
"""Checks that say another thing when a recipe is pinned, or once the destination exists; no card repeats them."""
_OF_THE_MACHINE = "twin-equal"
"""Needs torch; its last digits differ between machines."""
_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)*(?:e[+-]?[0-9]+)?")
_FAR = 1000.0  # factor between two errors of rounding, which two machines do not make


@dataclass(frozen=True)
class Compared:
    """What came of it."""

    differences: tuple[Difference, ...]
    claimed: tuple[str, ...]
    """Top keys of which nothing here tells whether they are true."""


def compare(context: Context, variant: Variant, evidence: Mapping[str, Any], attested: str) -> Compared:
    """Compare evidence with all that is known here. `attested` names who vouches for what was measured, if anybody."""
    own = json.loads(json.dumps(assemble(context, variant, bound_of(context, variant))))
    measured = [] if attested else [stage for stage in MEASURED if own[stage] is not None]
    found = [
        *_sure(evidence, own),
        *_proof(evidence.get("proof"), own["proof"]),
        *_ladder(context, evidence, own, attested),
    ]
    found += chat_differences(context, variant, evidence)
    for stage in measured:
        if evidence[stage] is not None:
            found += walk(stage, evidence[stage], own[stage], _REPORT[stage])
    found += _checks(evidence["checks"], own["checks"], ("inspect", "convert", *measured))
    claimed = [stage for stage in MEASURED if evidence[stage] is not None and stage not in measured]
    claimed += ["proof"] if evidence.get("proof") and not own["proof"] else []
    return Compared(tuple(dict.fromkeys(found)), tuple(claimed))


def _sure(evidence: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[Difference]:
    for key in _SURE:
        if key == "untested" and not (evidence.get(key) or {"smoke", "fidelity"} & {*evidence["missing"]}):
            continue  # it was tested, whatever is left of that here
        yield from walk(key, evidence.get(key), own.get(key), _REPORT[key])


def _proof(told: Mapping[str, Any] | None, own: Mapping[str, Any] | None) -> Iterator[Difference]:
    """Versions and last digits are those of the machine that it was found on; what was compared is not."""
    if not told or not own:
        return
    for key in own.keys() - {"versions", "mlx_lm", "texts"} | told.keys() - {"versions", "mlx_lm", "texts"}:
        yield from walk(f"proof.{key}", told.get(key), own.get(key), _REPORT["proof"])
    if len(told["texts"]) != len(own["texts"]):
        yield from walk("proof.texts", told["texts"], own["texts"], _REPORT["proof"])
        return
    for number, (one, other) in enumerate(zip(told["texts"], own["texts"], strict=True)):
        for key in one.keys() | other.keys():
            if not _near(one.get(key), other.get(key)):
                yield from walk(f"proof.texts[{number}].{key}", one.get(key), other.get(key), _REPORT["proof"])


def _near(one: Any, other: Any) -> bool:
    """Whether two values may be the same thing on two machines."""
    if not all(type(value) in (int, float) for value in (one, other)):
        return bool(one == other)
    low, high = sorted(map(abs, (one, other)))
    return one == other or (abs(one - other) < MAX_NMSE and (not low or high / low < _FAR))


def _ladder(
    context: Context, evidence: Mapping[str, Any], own: Mapping[str, Any], attested: str
) -> Iterator[Difference]:
    """The rung of this variant repeats the evidence; those of its siblings are theirs."""
    label, here = evidence["variant"]["label"], {rung["label"]: rung for rung in own["ladder"]}
    rungs = evidence["ladder"]
    known = [variant.label for variant in context.recipe.variants]
    labels = [rung["label"] for rung in rungs]
    if labels != [one for one in known if one in labels] or label not in labels:
        yield Difference("ladder", json.dumps(labels), f"some of {json.dumps(known)}, {label} among them", "the recipe")
    for number, rung in enumerate(rungs):
        if rung["label"] not in known:
            continue
        key, repo = f"ladder[{number}]", context.recipe.destinations[rung["label"]].repo
        if rung["label"] == label:
            timed = evidence["benchmark"]
            named = {"label": label, "repo": repo}
            memory = timed.get("context") if timed else {"bytes": rung["memory_bytes"], "tokens": rung["memory_tokens"]}
            said = rung_of(named, evidence["model"], evidence["fidelity"], timed, memory if _any(memory) else None)
            yield from walk(key, rung, json.loads(json.dumps(said)), "the evidence itself")
            continue
        if rung["repo"] != repo:
            yield from walk(f"{key}.repo", rung["repo"], repo, "the recipe")
        theirs = here.get(rung["label"], {})
        files = ("weight_bytes", "bits_per_weight")
        for name, value in theirs.items():
            if name in files or (value is not None and not attested):
                yield from walk(f"{key}.{name}", rung[name], value, f"a report of {rung['label']}")


def _any(memory: Mapping[str, Any] | None) -> bool:
    return memory is not None and memory["bytes"] is not None


def _checks(
    told: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, Any]], stages: Sequence[str]
) -> Iterator[Difference]:
    """Each check of these stages said here what the evidence has it say."""
    here = {(one["stage"], one["id"]): one for one in own}
    for number, one in enumerate(told):
        mine = here.get((one["stage"], one["id"]))
        if one["stage"] not in stages or mine is None or one["id"] in _BY_THE_HOUR:
            continue
        if one["id"] == _OF_THE_MACHINE:
            if "skip" not in (one["status"], mine["status"]):
                yield from walk(f"checks[{number}]", _without_numbers(one), _without_numbers(mine), "inspect.json")
            continue
        yield from walk(f"checks[{number}]", one, mine, f"{one['stage']}.json")


def _without_numbers(check: Mapping[str, Any]) -> dict[str, Any]:
    return {**check, "message": _NUMBER.sub("#", check["message"])}
