"""Who vouches for evidence: a key of the machine that measured, or GitHub for the run of a workflow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlx_publish.checks.signed import Vouched
from mlx_publish.errors import BadInput, Place, in_file
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.recipes.policy import Policy
from mlx_publish.signing.evidence_signature import PUBLISHED, signer_of
from mlx_publish.signing.programs import complaint, gh
from mlx_publish.text.files import json_text
from mlx_publish.text.temporary import TemporaryFolder

EVIDENCE = "mlx-publish.json"
MEASURED = "urn:mlx-publish:measured:1"
"""The type of GitHub's attestation of evidence: a run of this workflow has measured it."""
_AGAIN = "Measure again on your own runner (a run of publish.yml), and have its cards reviewed"


@dataclass(frozen=True)
class SignedEvidence:
    """The bytes of evidence, its signature, and their names in messages."""

    text: bytes
    signature: bytes | None
    name: str = EVIDENCE
    signature_name: str = PUBLISHED


@dataclass(frozen=True)
class Vouchers:
    """Whose word counts: allowed signers as OpenSSH writes them, or a repo of GitHub and a workflow in it."""

    signers: bytes | None = None
    signers_name: str = ""
    github: str = ""
    workflow: str = ""

    @property
    def any(self) -> bool:
        """Whether anybody's word is asked for."""
        return self.signers is not None or bool(self.github)


def vouchers_of(policy: Policy, root: Path = Path()) -> Vouchers:
    """Return whose word a policy asks for; its place is relative to `root`.

    Raises `BadInput` if its list of signers cannot be read.
    """
    asked = policy.spec.attested
    if asked is None:
        return Vouchers()
    if asked.signers is None:
        return Vouchers(github=asked.github or "", workflow=asked.workflow or "")
    path = Path(policy.place).parent / asked.signers
    return Vouchers(read_signers(root / path, in_file(policy.place, policy.lines.get("attested", 1))), str(path))


def read_signers(path: Path, place: str | Place) -> bytes:
    """Read a list of allowed signers. `BadInput` if there is none, or an empty one."""
    try:
        with path.open("rb") as file:
            text = file.read(1 << 20)
    except (OSError, ValueError):
        text = b""
    if not text.strip():
        raise BadInput(
            f"{path} is missing or empty; it should list the allowed signers",
            place=place,
            remedy='Add one line per key: NAME namespaces="mlx-publish" ssh-ed25519 AAAA...',
        )
    return text


def vouched(evidence: SignedEvidence, by: Vouchers) -> Vouched:
    """Judge whether one of those whose word counts vouches for the evidence."""
    if by.signers is not None:
        return _by_key(evidence, by.signers, by.signers_name)
    if by.github:
        return _by_github(evidence, by.github, by.workflow)
    signing = (
        "is signed, but no expected signer was given"
        if evidence.signature
        else "is not signed by the machine that measured"
    )
    return Vouched("skip", f"{evidence.name} {signing}; only its publisher vouches for the numbers")


def judged(evidence: Evidence, text: bytes | None, signature: bytes | None, policy: Policy, name: str) -> Vouched:
    """Judge who vouches for evidence that is about to be published as `text`; messages call it `name`."""
    by = vouchers_of(policy)
    if not by.any:
        return Vouched("skip", "the policy requires no signature or attestation of the evidence")
    if text != json_text(evidence.plain).encode():
        return Vouched("fail", f"{name} is not the evidence that was checked", f"{_AGAIN}.")
    return vouched(SignedEvidence(text, signature, name, f"{name.removesuffix('.json')}.sig"), by)


def _by_key(evidence: SignedEvidence, signers: bytes, name: str) -> Vouched:
    if evidence.signature is None:
        remedy = f"{_AGAIN}; set MLX_PUBLISH_EVIDENCE_KEY on that machine to the path of a key listed in {name}."
        return Vouched("fail", f"{evidence.name} is not attested: {evidence.signature_name} is missing", remedy)
    who, detail = signer_of(evidence.text, evidence.signature, signers)
    if not who:
        wrong = f"{evidence.signature_name} is not a signature of {evidence.name} by a signer in {name}: {detail}"
        return Vouched("fail", wrong, f"{_AGAIN}; or add the key to {name} if it is yours.")
    return Vouched("pass", f"{evidence.name} is signed by {who[:100]} (key {detail[:100]})", by=who[:100])


def _by_github(evidence: SignedEvidence, repo: str, workflow: str) -> Vouched:
    with TemporaryFolder() as aside:
        path = Path(aside, "evidence.json")
        path.write_bytes(evidence.text)
        words: list[str | Path] = ["attestation", "verify", path, "--repo", repo, "--predicate-type", MEASURED]
        outcome = gh(*words, *(("--signer-workflow", workflow) if workflow else ()))
    who = f"{workflow} for {repo}" if workflow else repo
    if outcome.code:
        remedy = f"{_AGAIN}, with MLX_PUBLISH_ATTEST_EVIDENCE=true; gh needs a token that can read attestations."
        return Vouched(
            "fail", f"{evidence.name} has no attestation of {who} that gh verifies: {complaint(outcome)}", remedy
        )
    return Vouched("pass", f"GitHub attests {evidence.name} as measured by a run of {who}", by=f"GitHub for {who}")
