"""Who signed a published model, as far as a signature proves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.signed import SIGNED, Signatures, Vouched
from mlx_publish.errors import BadInput
from mlx_publish.evidence.report import Finding
from mlx_publish.model.files import ModelFiles
from mlx_publish.signing.attested import EVIDENCE, SignedEvidence, Vouchers, read_signers, vouched
from mlx_publish.signing.bundle import LARGEST, Bundle, read_bundle
from mlx_publish.signing.evidence_signature import LARGEST as TOO_LONG
from mlx_publish.signing.evidence_signature import PUBLISHED
from mlx_publish.signing.keyless import GITHUB, Named, named_in, why_unproven
from mlx_publish.signing.keys import is_signed_by, public_key
from mlx_publish.signing.statement import SIGNATURE, Signed, Unreadable, read_statement

_NOT_THEIRS = "Do not use it: it is not from the signer you expect."


@dataclass(frozen=True)
class Wanted:
    """The signers that the user asks for."""

    key: Path | None = None
    identity: str = ""
    issuer: str = GITHUB
    repository: str = ""
    signers: Path | None = None
    github: str = ""
    workflow: str = ""

    def __post_init__(self) -> None:
        """Raise `BadInput` for options that exclude each other."""
        if self.key and self.identity:
            raise BadInput(
                "a model has one signature, made with a key or with an identity",
                place="--identity",
                remedy="Use either --key or --identity.",
            )
        if self.signers and self.github:
            raise BadInput(
                "evidence is vouched for by signers or by GitHub, not both",
                place="--github",
                remedy="Use either --signers or --github.",
            )
        alone = (self.repository and not self.identity and "repository") or (
            self.workflow and not self.github and "workflow"
        )
        if alone:
            of = "identity" if alone == "repository" else "github"
            raise BadInput(f"has no effect without --{of}", place=f"--{alone}", remedy=f"Add --{of}.")


def signatures(
    files: ModelFiles, sha256: Mapping[str, str], wanted: Wanted, measured: Vouched, place: str = ""
) -> tuple[Finding, ...]:
    """Judge the signatures of a published model, whose files have these digests; `place` is its repo, if it has one.

    `measured` is the judgement of `measurer`.
    """
    own = {path: digest for path, digest in sha256.items() if path != SIGNATURE}
    bundle, signed, unread = _read(files)
    target = Signatures(
        own,
        signed.sha256 if signed else None,
        unread,
        bool(wanted.key or wanted.identity),
        _named(_signer(bundle, signed, wanted), signed, place),
        measured,
    )
    return run_checks(SIGNED, target)


def reportable(findings: tuple[Finding, ...], *, alone: bool) -> tuple[Finding, ...]:
    """Return the findings to report; of a model without evidence (`alone`) those of missing proof say nothing."""
    return tuple(finding for finding in findings if not (alone and finding.status == "skip"))


def _read(files: ModelFiles) -> tuple[Bundle | None, Signed | None, str]:
    """Return the bundle and what it signs, or why they cannot be read."""
    entry = files.entries.get(SIGNATURE)
    if entry is None:
        return None, None, ""
    if entry.size > LARGEST:
        return None, None, f"it has {entry.size:,} bytes, too many for a signature"
    try:
        bundle = read_bundle(files.read(SIGNATURE))
        return bundle, read_statement(bundle.payload), ""
    except Unreadable as error:
        return None, None, str(error)


def _signer(bundle: Bundle | None, signed: Signed | None, wanted: Wanted) -> Vouched:
    if bundle is None or signed is None:
        return Vouched("skip", "no signature to check")
    named = f"'{signed.name[:100]}'"
    if wanted.key:
        return _by_key(bundle, wanted.key, named)
    if wanted.identity:
        if not bundle.certificate:
            return Vouched("fail", "it was signed with a bare key, without an identity", _NOT_THEIRS)
        expected = Named(wanted.identity, wanted.issuer, wanted.repository)
        if why := why_unproven(bundle, expected):
            return Vouched("fail", f"it is not proven that {expected} signed it: {why}", _NOT_THEIRS)
        return Vouched("pass", f"{named} is signed by {named_in(bundle)}")
    return _unasked(bundle, named)


def _named(signer: Vouched, signed: Signed | None, place: str) -> Vouched:
    """Warn of a good signature that was made for another repo: of a copy, or of an old version under a new name."""
    if signer.status != "pass" or signed is None or not place or signed.name.casefold() == place.casefold():
        return signer
    return Vouched(
        "warn", f"{signer.message}; it was signed under that name, but this is {place}", "Prefer the original."
    )


def _by_key(bundle: Bundle, path: Path, named: str) -> Vouched:
    key = public_key(path)
    if is_signed_by(bundle, key):
        return Vouched("pass", f"{named} is signed by the key {path.name}")
    other = f"the key {bundle.key[:12]}" if bundle.key else "a certificate"
    return Vouched("fail", f"{path.name} did not sign it; it was made with {other}", _NOT_THEIRS)


def _unasked(bundle: Bundle, named: str) -> Vouched:
    if not bundle.certificate:
        return Vouched("skip", f"{named} names the key {bundle.key[:12]}; pass its public key (--key) to prove it")
    who = named_in(bundle)
    claim = f"names {who}" if who.identity else "has a certificate"
    return Vouched("skip", f"{named} {claim}; pass the identity you expect (--identity) to prove it")


def measurer(files: ModelFiles, wanted: Wanted) -> Vouched:
    """Judge whether one of the wanted signers vouches for the evidence of a published model."""
    if EVIDENCE not in files.entries:
        return Vouched("skip", "no evidence to sign")
    entry = files.entries.get(PUBLISHED)
    if entry is not None and entry.size > TOO_LONG:
        return Vouched("fail", f"{PUBLISHED} has {entry.size:,} bytes, too many for a signature", _NOT_THEIRS)
    signature = files.read(PUBLISHED) if entry is not None else None
    signers = read_signers(wanted.signers, "--signers") if wanted.signers else None
    by = Vouchers(signers, str(wanted.signers or ""), wanted.github, wanted.workflow)
    voucher = vouched(SignedEvidence(files.read(EVIDENCE), signature), by)
    return voucher if voucher.status != "fail" else Vouched("fail", voucher.message, _NOT_THEIRS)
