"""Checks of what is about to be published, the last before anything leaves this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlx_publish.checks.base import Check, Says, failed, passed, skipped
from mlx_publish.evidence.digests import MADE_FROM_EVIDENCE
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.evidence.stages import TESTED

_NAMED = 5  # faults in a message
_AS_MADE = (
    "Use the evidence unchanged. If it is unchanged, render it here with 'mlx-publish card --into cards' and have it "
    "reviewed again."
)


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
    """ladder.svg as it is, and as it is rendered; None where there is none."""
    rendered_chart: str | None = None
    leaks: tuple[str, ...] = ()
    """Secrets in what would be sent: where each stands and what it is, never the secret itself."""
    unlisted: tuple[str, ...] = ()
    """What is wrong with the evidence's list of checks, and with its acceptances."""
    differences: tuple[str, ...] = ()
    """Fields of the evidence that differ from what this machine knows, with both values."""
    claimed: tuple[str, ...] = ()
    """What stands in the evidence and cannot be known here."""
    attested: str = ""
    """Who vouches for what was measured; empty where nobody does."""
    forbidden: tuple[str, str] | None = None
    """What the policy has against the evidence's licence, and the next step."""
    rebuilt: Mapping[str, str] | None = None
    """Digests of the files that came out of another conversion; None where none was asked for."""
    converted_now: bool = False
    """Whether what lies in `model/` came out of a conversion of this very job."""


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
        return failed(
            f"files in model/ differ from the evidence: {', '.join(different[:5])}",
            "Run 'mlx-publish run --force' to convert and measure again, then have the card reviewed again.",
            different=different,
        )
    return passed(f"{len(known)} files have the digests of the evidence")


def _card(parcel: Parcel) -> Says:
    wrong = [
        name
        for name, here, rendered in (
            ("README.md", parcel.card, parcel.rendered),
            ("ladder.svg", parcel.chart, parcel.rendered_chart),
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
    by = f"vouched for by {parcel.attested}" if parcel.attested else "claimed by the evidence alone"
    return passed(f"{agreed}; {by}: {', '.join(parcel.claimed)}", claimed=list(parcel.claimed), by=parcel.attested)


def _licence(parcel: Parcel) -> Says:
    if parcel.forbidden:
        return failed(f"of the evidence {parcel.forbidden[0]}", parcel.forbidden[1])
    return passed("the policy allows the evidence's licence")


def _rebuilt(parcel: Parcel) -> Says:
    if parcel.converted_now:
        return passed("the files were converted in this job")
    if parcel.rebuilt is None:
        return skipped("not asked for; publish.rebuild in the policy, or --rebuild, converts the source once more")
    stated = {file.path: file.sha256 for file in parcel.evidence.model.files}
    different = sorted(
        path for path in stated.keys() | parcel.rebuilt.keys() if stated.get(path) != parcel.rebuilt.get(path)
    )
    if different:
        return failed(
            f"differ when converted again from the source: {', '.join(different[:5])}",
            "Run 'mlx-publish run --force' and have the card reviewed again; find out who changed the work folder.",
            different=different,
        )
    return passed(f"{len(stated)} files are the same when converted again from the source, in an empty folder")


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

_AHEAD = frozenset({"evidence-complete", "checks-complete", "licence-allowed", "card-rendered"})
KNOWN_AHEAD: tuple[Check[Parcel], ...] = tuple(check for check in UPLOAD if check.id in _AHEAD)
"""Those that need no weights: a reviewed card and its evidence are judged by them before anything is converted."""
