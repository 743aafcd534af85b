"""Checks of what is about to be published, the last before anything leaves this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlx_publish.checks.base import Check, Says, failed, passed, skipped
from mlx_publish.checks.listed import shown
from mlx_publish.evidence.digests import MADE_FROM_EVIDENCE, PICTURE
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.evidence.planned import is_portable, plan_of, wrong_plan
from mlx_publish.evidence.quantization import PLAN_FILE
from mlx_publish.evidence.stages import TESTED

_NAMED = 5  # faults in a message
_AS_MADE = (
    "Use the evidence unchanged. If it is unchanged, render it here with 'mlx-publish card --into cards' and have it "
    "reviewed again."
)

OTHER_BITS = (
    "To publish other bits, copy the plan next to the recipe, name it in the variant (plan: FILE), and run again: the "
    "weights are then made, measured and reviewed by it."
)
_NO_PLAN = f"{PLAN_FILE} is there, but the evidence names no plan"


@dataclass(frozen=True)
class Parcel:
    """The files that would be sent, beside the evidence that describes them."""

    evidence: Evidence
    sha256: Mapping[str, str]
    """Digests of the files in `model/` as they are now."""
    card: str
    rendered: str
    strangers: tuple[str, ...]
    """Files that must not be sent."""
    chart: str | None = None
    """ladder.svg as it is, and as it is rendered; None if there is none."""
    rendered_chart: str | None = None
    picture: str | None = None
    """SHA-256 of picture.png as it is, and as it is drawn; None if there is none."""
    drawn_picture: str | None = None
    leaks: tuple[str, ...] = ()
    """Secrets in what would be sent: where each stands and what it is, never the secret itself."""
    unlisted: tuple[str, ...] = ()
    """What is wrong with the evidence's list of checks, and with its acceptances."""
    differences: tuple[str, ...] = ()
    """Fields of the evidence that differ from what this machine knows, with both values."""
    claimed: tuple[str, ...] = ()
    """What stands in the evidence and cannot be known here."""
    attested: str = ""
    """Who vouches for what was measured; empty if nobody does."""
    forbidden: tuple[str, str] | None = None
    """What the policy has against the evidence's licence, and the next step."""
    rebuilt: Mapping[str, str] | None = None
    """Digests of the files that came out of another conversion; None if none was asked for."""
    converted_now: bool = False
    """Whether what lies in `model/` came out of a conversion of this very job."""
    plan: str = ""
    """SHA-256 of the plan that was reviewed, or that lies in `model/`; empty if there is none."""


def _measured(parcel: Parcel) -> Says:
    missing = [name for name in TESTED if not parcel.evidence.measured[name]]
    if missing:
        return failed(
            f"the evidence has no {' and no '.join(missing)}",
            f"Run 'mlx-publish {missing[0]}', or accept 'evidence-complete' in the recipe with a reason.",
        )
    return passed("smoke and fidelity are in the evidence")


def _unchanged(parcel: Parcel) -> Says:
    known = {file.path: file.sha256 for file in parcel.evidence.model.files}
    now = {path: digest for path, digest in parcel.sha256.items() if path not in MADE_FROM_EVIDENCE}
    different = sorted(path for path in known.keys() | now.keys() if known.get(path) != now.get(path))
    if different:
        remedy = "Run 'mlx-publish run --force' to convert and measure again, then have the card reviewed again."
        words = f"files in model/ differ from the evidence: {', '.join(different[:5])}"
        if not is_portable(parcel.evidence):
            return failed(*_elsewhere(parcel, words, remedy), different=different)
        return failed(words, remedy, different=different)
    return passed(f"{len(known)} files have the digests of the evidence")


def _card(parcel: Parcel) -> Says:
    wrong = [
        name
        for name, here, rendered in (
            ("README.md", parcel.card, parcel.rendered),
            ("ladder.svg", parcel.chart, parcel.rendered_chart),
            (PICTURE, parcel.picture, parcel.drawn_picture),
        )
        if here != rendered
    ]
    if wrong:
        return failed(
            f"model/{wrong[0]} differs from the card that recipe and evidence render",
            "To change the words, edit 'notes' in the recipe, not the card; then run 'mlx-publish card --force'.",
        )
    return passed("the card is the one that recipe and evidence render")


def _strangers(parcel: Parcel) -> Says:
    if parcel.strangers:
        return failed(
            f"model/ contains files that are not published: {', '.join(parcel.strangers[:5])}",
            "Remove them from model/.",
        )
    return passed("only files of a model")


def _secrets(parcel: Parcel) -> Says:
    if parcel.leaks:
        return failed(
            f"a secret would be published: {', '.join(parcel.leaks[:5])}",
            "Revoke it if it is real, remove it where it came from (the source, the recipe's notes), and run again.",
        )
    return passed("no secrets found in the files to send")


def _listed(parcel: Parcel) -> Says:
    if parcel.unlisted:
        return failed(f"the evidence: {_some(parcel.unlisted)}", _AS_MADE, faults=list(parcel.unlisted))
    return passed(f"all {len(parcel.evidence.checks)} checks that had to run are in the evidence, none of them failed")


def _facts(parcel: Parcel) -> Says:
    if parcel.differences:
        return failed(f"the evidence: {_some(parcel.differences)}", _AS_MADE, differences=list(parcel.differences))
    agreed = "the evidence matches recipe, inspect and convert here"
    if not parcel.claimed:
        return passed(f"{agreed}, and what was measured here")
    by = f"vouched for by {parcel.attested}" if parcel.attested else "claimed only by the evidence"
    return passed(f"{agreed}; {by}: {', '.join(parcel.claimed)}", claimed=list(parcel.claimed), by=parcel.attested)


def _licence(parcel: Parcel) -> Says:
    if parcel.forbidden:
        return failed(f"of the evidence {parcel.forbidden[0]}", parcel.forbidden[1])
    return passed("the policy allows the evidence's licence")


def _rebuilt(parcel: Parcel) -> Says:
    if parcel.converted_now:
        return passed("the files were converted in this job")
    if parcel.rebuilt is None:
        return skipped("not requested; publish.rebuild in the policy, or --rebuild, converts the source once more")
    stated = {file.path: file.sha256 for file in parcel.evidence.model.files}
    different = sorted(
        path for path in stated.keys() | parcel.rebuilt.keys() if stated.get(path) != parcel.rebuilt.get(path)
    )
    if different:
        words = f"differ when converted again from the source: {', '.join(different[:5])}"
        remedy = "Run 'mlx-publish run --force' and have the card reviewed again; find out who changed the work folder."
        if not is_portable(parcel.evidence):
            return failed(*_elsewhere(parcel, words, remedy), different=different)
        return failed(words, remedy, different=different)
    return passed(f"{len(stated)} files are the same when converted again from the source, in an empty folder")


def _elsewhere(parcel: Parcel, words: str, remedy: str) -> tuple[str, str]:
    """Return message and next step of bytes that differ where the method gives others on another machine."""
    method = shown(parcel.evidence.quantization.method) if parcel.evidence.quantization else ""
    made_on = parcel.evidence.model.made_on
    where = f", and the evidence names {shown(made_on.system)} on {shown(made_on.architecture)}" if made_on else ""
    return (
        f"{words}; {method} gives other bytes on another machine{where}",
        f"Publish from the machine that converted it, with the same work folder. Elsewhere: {remedy}",
    )


def _planned(parcel: Parcel) -> Says:
    if wrong := list(map(str, wrong_plan(parcel.evidence))):
        return failed(f"the evidence: {_some(wrong)}", _AS_MADE, faults=wrong)
    plan = plan_of(parcel.evidence)
    if plan is None:
        return failed(_NO_PLAN, _AS_MADE) if parcel.plan else passed("the recipe alone says how it is quantized")
    if not parcel.plan:
        return failed(f"{PLAN_FILE} is missing, and the evidence names it", "Restore it as mlx-publish wrote it.")
    if parcel.plan != plan.sha256:
        return failed(
            f"{PLAN_FILE} has the digest {parcel.plan[:12]}, but the weights were made by the plan {plan.sha256[:12]}",
            OTHER_BITS,
        )
    return passed(f"the weights were made by the plan {plan.sha256[:12]}")


def _some(faults: Sequence[str]) -> str:
    more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    return "; ".join(faults[:_NAMED]) + more


UPLOAD: tuple[Check[Parcel], ...] = (
    Check("evidence-complete", "smoke and fidelity have run", "an untested model under your name", _measured),
    Check("checks-complete", "The list of checks is complete", "an omitted failure", _listed, safety=True),
    Check(
        "facts-known",
        "The evidence agrees with this job's own facts",
        "a forged licence or number",
        _facts,
        safety=True,
    ),
    Check("licence-allowed", "The policy allows the licence", "an unintended licence", _licence, safety=True),
    Check(
        "rebuilt-equal",
        "Converting the source again gives the same bytes",
        "weights changed in the work folder",
        _rebuilt,
        safety=True,
    ),
    Check(
        "bytes-unchanged",
        "The files are those that were measured",
        "another model's numbers",
        _unchanged,
        safety=True,
    ),
    Check(
        "plan-reviewed",
        "The plan is the one that the weights were made by",
        "bits that nobody reviewed",
        _planned,
        safety=True,
    ),
    Check("card-rendered", "The card is the rendered one", "claims that nobody measured", _card, safety=True),
    Check(
        "only-model-files",
        "The folder contains only model files",
        "publishing a secret or a stray file",
        _strangers,
        safety=True,
    ),
    Check("no-secrets", "The files contain no secrets", "a token that anybody can use", _secrets, safety=True),
)

_AHEAD = frozenset({"evidence-complete", "checks-complete", "licence-allowed", "plan-reviewed", "card-rendered"})
KNOWN_AHEAD: tuple[Check[Parcel], ...] = tuple(check for check in UPLOAD if check.id in _AHEAD)
"""Those that need no weights: a reviewed card and its evidence are judged by them before anything is converted."""
