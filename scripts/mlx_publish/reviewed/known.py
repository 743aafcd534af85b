"""Compare evidence with this job's own: each field that inspect, convert and the recipe give.

Measurements are compared with reports of the same bytes, where the work folder has them. The rest is claimed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlx_publish import __version__
from mlx_publish.checks.twin import MAX_NMSE
from mlx_publish.context import Context
from mlx_publish.evidence.evidence import Evidence, Judged
from mlx_publish.evidence.planned import plan_of
from mlx_publish.evidence.records import to_json
from mlx_publish.evidence.report import STREAMED
from mlx_publish.evidence.stages import MEASURED, TESTED
from mlx_publish.recipes.recipe import Variant
from mlx_publish.reviewed.assembling import assemble, bound_of
from mlx_publish.reviewed.known_chat import chat_differences
from mlx_publish.reviewed.known_ladder import ladder_differences
from mlx_publish.reviewed.walk import Difference, cut, walk
from mlx_publish.source.calibration import calibration_record
from mlx_publish.text import kit

_REPORT = {
    **dict.fromkeys(("schema", "generator"), "this version"),
    **dict.fromkeys(("recipe", "destination", "templates", "variant", "words", "untested"), "the recipe"),
    **dict.fromkeys(("source", "licence", "language", "config", "proof"), "inspect.json"),
    **dict.fromkeys(("model", "quantization", "drafter", "tools"), "convert.json"),
    "sampling": "generation_config.json",
    **{stage: f"{stage}.json" for stage in MEASURED},
}
"""By top key, what knows it."""
_SURE = tuple(key for key in _REPORT if key not in ("proof", "drafter", *MEASURED))
_BY_THE_HOUR = frozenset({"not-taken", "revision"})
"""Checks that say another thing when a recipe is pinned, or once the destination exists; no card repeats them."""
_OF_THE_MACHINE = frozenset({"twin-equal", "twin-pictures", "room"})
"""Their numbers are of one job: last digits of torch on one machine, room for as many variants as the job had."""
_OF_ANY_MACHINE = frozenset({"model.made_on.architecture", "model.made_on.system", "model.streamed"})
"""The same bytes come from any processor and system, and whether the source fits on the disk beside them or not, so
those of a job need not be those of the reviewed evidence."""
_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)*(?:e[+-]?[0-9]+)?(?: [kMGT]B)?")
_FAR = 1000.0  # factor between two errors of rounding, which two machines do not make


@dataclass(frozen=True)
class Compared:
    """Differences between evidence and this job's own, and what cannot be compared."""

    differences: tuple[Difference, ...]
    claimed: tuple[str, ...]
    """Top keys of which nothing here tells whether they are true."""


def compare(context: Context, variant: Variant, evidence: Evidence, attested: str) -> Compared:
    """Compare evidence with all that is known here. `attested` names who vouches for what was measured, if anybody."""
    here = assemble(context, variant, bound_of(context, variant))
    stated, own = evidence.plain, here.plain
    measured = [] if attested else [stage for stage in MEASURED if own[stage] is not None]
    differences: list[Difference] = []
    for key in _SURE:
        # Of a model that was tested, the work folder may no longer have the test.
        if key != "untested" or stated.get(key) or {*TESTED} & {*evidence.missing}:
            found = walk(key, stated.get(key), own.get(key), _REPORT[key])
            differences += [difference for difference in found if difference.field not in _OF_ANY_MACHINE]
    differences += _kit(evidence)
    differences += _proof(evidence, here)
    differences += _drafter(evidence, here, measured)
    differences += ladder_differences(context, variant, evidence, here.ladder, attested=bool(attested))
    differences += chat_differences(context, variant, evidence)
    differences += _calibration(context, variant, evidence)
    for stage in measured:
        if stated[stage] is not None:
            differences += walk(stage, stated[stage], own[stage], _REPORT[stage])
    differences += _checks(evidence.checks, here.checks, ("inspect", "convert", *measured))
    claimed = [stage for stage in MEASURED if stated[stage] is not None and stage not in measured]
    claimed += ["proof"] if evidence.proof and not here.proof else []
    claimed += ["quantization"] if plan_of(evidence) and not _measured_bits(context, variant) else []
    return Compared(tuple(dict.fromkeys(differences)), tuple(claimed))


def _calibration(context: Context, variant: Variant, evidence: Evidence) -> Iterator[Difference]:
    """Compare the text that bits were chosen by with the one that this recipe reads here."""
    stated = evidence.quantization.calibration if evidence.quantization else None
    pinned = variant.label in context.recipe.plans and variant.quantizer.portable
    if stated is None or pinned:
        return
    wanted = to_json(calibration_record(context, variant.quantizer.name))
    if 0 < stated.samples < wanted["samples"]:  # a text may have fewer than are asked for
        del wanted["samples"]
    for key, own in wanted.items():
        yield from walk(f"quantization.calibration.{key}", stated.plain.get(key), own, "the recipe")


def _measured_bits(context: Context, variant: Variant) -> bool:
    """Return whether a plan is the recipe's own, or what it was made of was measured in this work folder."""
    return variant.label in context.recipe.plans or any(context.work.source.glob("sensitivities*.json"))


def of_source(context: Context, variant: Variant, evidence: Evidence) -> list[Difference]:
    """Compare what any conversion of the same source gives, whatever the tools, the destination and the words.

    A folder may have got another name since; another version may tell more or less of a config.
    """
    stated, own = evidence.plain, assemble(context, variant, bound_of(context, variant)).plain
    names = ("name",) if own["source"]["repo"] else ()
    wanted = {
        "source": (*names, "repo", "identity", "parameters", "weight_bytes", "weight_dtypes", "pipeline_tag"),
        "variant": tuple(own["variant"]),
        "config": tuple(own["config"] | stated["config"]),
        "model": ("parameters", "weight_bytes", "bits_per_weight"),
        "quantization": ("method", "deterministic", "plan", "calibration"),
        "drafter": ("model_type", "bits", "group_size", "tensors", "weight_bytes", "parameters"),
    }
    differences: list[Difference] = []
    for top, keys in wanted.items():
        theirs, here = stated.get(top, {}), own.get(top, {})
        for key in keys:
            if evidence.generator == __version__ or (key in theirs and key in here):
                differences += walk(f"{top}.{key}", theirs.get(key), here.get(key), _REPORT[top])
    # The publisher's recipe pins a file of its own; here it is the published one, whose digest is compared.
    return [difference for difference in differences if difference.field != "variant.options.plan"]


def _drafter(evidence: Evidence, here: Evidence, measured: Sequence[str]) -> Iterator[Difference]:
    """Compare what was made of multi-token heads, and how it drafts where this job measured that."""
    left_out = () if "smoke" in measured else ("proof",)
    stated, own = (
        {key: value for key, value in one.drafter.plain.items() if key not in left_out} if one.drafter else None
        for one in (evidence, here)
    )
    yield from walk("drafter", stated, own, _REPORT["drafter"])


def _kit(evidence: Evidence) -> Iterator[Difference]:
    """Compare the kit's address, from which the card tells readers to install: the running one, or the public one."""
    trusted = (kit.address(), kit.address({}))
    if evidence.kit and evidence.kit.address not in trusted:
        yield Difference("kit.address", cut(evidence.kit.address), cut(trusted[0]), "the running kit")


def _proof(evidence: Evidence, here: Evidence) -> Iterator[Difference]:
    """Compare what the twin was compared with; versions and last digits are those of the machine that did it."""
    if not evidence.proof or not here.proof:
        return
    stated, own = evidence.proof.plain, here.proof.plain
    told = {"versions", "mlx_lm", "texts", "pictures"}
    for key in own.keys() - told | stated.keys() - told:
        yield from walk(f"proof.{key}", stated.get(key), own.get(key), _REPORT["proof"])
    yield from _texts("proof.texts", stated["texts"], own["texts"])
    seen, here_seen = stated.get("pictures"), own.get("pictures")
    if isinstance(seen, Mapping) and isinstance(here_seen, Mapping):
        yield from _texts("proof.pictures.texts", seen["texts"], here_seen["texts"])
    elif seen != here_seen:
        yield from walk("proof.pictures", seen, here_seen, _REPORT["proof"])


def _texts(
    where: str, stated: Sequence[Mapping[str, object]], own: Sequence[Mapping[str, object]]
) -> Iterator[Difference]:
    if len(stated) != len(own):
        yield from walk(where, stated, own, _REPORT["proof"])
        return
    for number, (theirs, ours) in enumerate(zip(stated, own, strict=True)):
        for key in theirs.keys() | ours.keys():
            if not _is_near(theirs.get(key), ours.get(key)):
                yield from walk(f"{where}[{number}].{key}", theirs.get(key), ours.get(key), _REPORT["proof"])


def _is_near(stated: object, own: object) -> bool:
    """Return whether two values may be the same measurement on two machines."""
    if not (isinstance(stated, (int, float)) and isinstance(own, (int, float))) or bool in (type(stated), type(own)):
        return stated == own
    low, high = sorted(map(abs, (stated, own)))
    return stated == own or (abs(stated - own) < MAX_NMSE and (not low or high / low < _FAR))


def _checks(stated: Sequence[Judged], own: Sequence[Judged], stages: Sequence[str]) -> Iterator[Difference]:
    """Compare each check of these stages with the same check here."""
    here = {(check.stage, check.id): check for check in own}
    for number, check in enumerate(stated):
        mine = here.get((check.stage, check.id))
        if check.stage not in stages or mine is None or check.id in _BY_THE_HOUR:
            continue
        if check.id in _OF_THE_MACHINE:
            if "skip" not in (check.status, mine.status):
                yield from walk(f"checks[{number}]", _without_numbers(check), _without_numbers(mine), "inspect.json")
            continue
        yield from walk(f"checks[{number}]", check.plain, mine.plain, f"{check.stage}.json")


def _without_numbers(check: Judged) -> dict[str, object]:
    # Behind the first part stands how much of the source is on the disk at a time.
    return {**check.plain, "message": _NUMBER.sub("#", check.message.partition(STREAMED)[0])}
