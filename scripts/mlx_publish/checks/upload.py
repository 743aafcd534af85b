"""The last look before anything leaves this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlx_publish.checks.base import Check, Says, failed, passed
from mlx_publish.evidence import MADE_FROM_EVIDENCE


@dataclass(frozen=True)
class Parcel:
    """What would be sent, beside the evidence that describes it."""

    evidence: Mapping[str, Any]
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


def _measured(parcel: Parcel) -> Says:
    missing = [name for name in ("smoke", "fidelity") if not parcel.evidence.get(name)]
    if missing:
        return failed(
            f"the evidence has no {' and no '.join(missing)}",
            f"Run 'mlx-publish {missing[0]}', or accept 'evidence-complete' in the recipe with a reason.",
        )
    return passed("smoke and fidelity are in the evidence")


def _unchanged(parcel: Parcel) -> Says:
    known = {file["path"]: file["sha256"] for file in parcel.evidence["model"]["files"]}
    now = {path: digest for path, digest in parcel.sha256.items() if path not in MADE_FROM_EVIDENCE}
    different = sorted(path for path in known.keys() | now.keys() if known.get(path) != now.get(path))
    if different:
        return failed(
            f"differs from the evidence: {', '.join(different[:5])}",
            "Run 'mlx-publish convert --force' and measure again; what was reviewed has to be reviewed again.",
            different=different,
        )
    return passed(f"{len(known)} files have the digests of the evidence")


def _card(parcel: Parcel) -> Says:
    wrong = [name for name, here, rendered in (
        ("README.md", parcel.card, parcel.rendered), ("ladder.svg", parcel.chart, parcel.rendered_chart),
    ) if here != rendered]  # fmt: skip
    if wrong:
        return failed(
            f"model/{wrong[0]} is not what recipe and evidence give",
            "Change the recipe's notes instead of the card, then run 'mlx-publish card --force'.",
        )
    return passed("the card is what recipe and evidence give")


def _strangers(parcel: Parcel) -> Says:
    if parcel.strangers:
        return failed(
            f"not allowed in a published model: {', '.join(parcel.strangers[:5])}", "Remove them from model/."
        )
    return passed("nothing but files of a model")


def _secrets(parcel: Parcel) -> Says:
    if parcel.leaks:
        return failed(
            f"a secret would be published: {', '.join(parcel.leaks[:5])}",
            "Revoke it if it is real, remove it where it came from (the source, the recipe's notes), and run again.",
        )
    return passed("no secret was found in what would be sent")


UPLOAD: tuple[Check[Parcel], ...] = (
    Check("evidence-complete", "It was tested", "an untested model under your name", _measured),
    Check(
        "bytes-unchanged",
        "The bytes are the measured ones",
        "numbers of another model",
        _unchanged,
        safety=True,
    ),
    Check("card-rendered", "The card is the rendered one", "claims that nobody measured", _card, safety=True),
    Check(
        "only-model-files",
        "Only files of a model",
        "a secret or a stray file made public",
        _strangers,
        safety=True,
    ),
    Check("no-secrets", "No secrets in the files", "a token that anybody can use", _secrets, safety=True),
)
