"""What signatures prove: of the published files, and of the evidence by who measured it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlx_publish.checks.base import Check, Says, failed, passed, skipped

_NAMED = 5  # files in a message
_NOT_OURS = "Do not use it: choose another commit, or ask its publisher."


@dataclass(frozen=True)
class Vouched(Says):
    """Judgement about who signed: `pass` where that is proven, `skip` where nobody asked or nothing is signed."""

    by: str = ""
    """Whoever vouches, where that is proven."""


@dataclass(frozen=True)
class Signatures:
    """The signatures of a published model."""

    sha256: Mapping[str, str]
    """Of every published file but the signature itself, by path."""
    signed: Mapping[str, str] | None
    """The same as `model.sig` lists it; None where there is none, or none that can be read."""
    unread: str = ""
    """Why `model.sig` cannot be read."""
    asked: bool = False
    """Whether somebody asked who signed, so that there has to be a signature."""
    signer: Vouched = field(default=Vouched("skip", ""))
    measurer: Vouched = field(default=Vouched("skip", ""))


def _fits(target: Signatures) -> Says:
    if target.unread:
        return failed(f"model.sig cannot be read: {target.unread}", _NOT_OURS)
    if target.signed is None:
        message = "there is no model.sig: the files are not signed"
        return failed(message, _NOT_OURS) if target.asked else skipped(message)
    signed, here = target.signed, target.sha256
    missing, extra = sorted(set(signed) - set(here)), sorted(set(here) - set(signed))
    other = sorted(path for path in set(signed) & set(here) if signed[path] != here[path])
    words = [
        f"{what}: {', '.join(path[:200] for path in paths[:_NAMED])}"
        for what, paths in (("other bytes", other), ("missing", missing), ("not signed", extra))
        if paths
    ]
    if words:
        return failed(
            f"model.sig signs other files: {'; '.join(words)}",
            _NOT_OURS,
            other=other[:1000],
            missing=missing[:1000],
            extra=extra[:1000],
        )
    return passed(f"model.sig lists the {len(signed)} files with their SHA-256")


SIGNED: tuple[Check[Signatures], ...] = (
    Check("signature-fits", "The signature covers exactly these files", "files that the publisher never signed", _fits),
    Check(
        "signed-by",
        "The signer is the expected one",
        "a stranger's model under a known name",
        lambda target: target.signer,
    ),
    Check(
        "measured-by",
        "The evidence is signed by the machine that measured",
        "numbers that nobody measured",
        lambda target: target.measurer,
    ),
)

ATTESTED: tuple[Check[Vouched], ...] = (
    Check(
        "evidence-attested",
        "The evidence is signed or attested, if the policy requires it",
        "forged numbers that were merged",
        lambda vouched: vouched,
        safety=True,
    ),
)
"""Of `upload`."""
