"""Signatures of reviewed evidence: what lies beside a card is one, and where the policy lists keys, one of theirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mlx_publish.errors import Fault, PublishError, in_file
from mlx_publish.hooks.faults import faults_of
from mlx_publish.hub.manifest import is_signature
from mlx_publish.recipes.policy import EMPTY, find_policy
from mlx_publish.signing.attested import SignedEvidence, vouched, vouchers_of

SIGNATURE, EVIDENCE = "evidence.sig", "evidence.json"


def look(folders: Sequence[Path], root: Path) -> Iterator[Fault]:
    """Yield what is wrong with the signatures beside cards; GitHub's attestations are for `upload` to ask."""
    there = [folder for folder in folders if (root / folder / EVIDENCE).is_file()]
    for folder in there:
        path = root / folder / SIGNATURE
        if path.is_file() and not is_signature(path):
            remedy = "Restore it as the measuring machine wrote it, or remove it."
            yield Fault("is not a signature written by ssh-keygen", in_file(folder / SIGNATURE), remedy=remedy)
    try:
        by = vouchers_of(find_policy(root) or EMPTY, root)
    except PublishError as error:
        yield from faults_of(error, Path("mlx-publish.yaml"))
        return
    for folder in there if by.signers is not None else ():
        path = root / folder / SIGNATURE
        signature = path.read_bytes() if is_signature(path) else None
        names = (str(folder / EVIDENCE), str(folder / SIGNATURE))
        finding = vouched(SignedEvidence((root / folder / EVIDENCE).read_bytes(), signature, *names), by)
        if finding.status == "fail":
            yield Fault(finding.message, in_file(folder / EVIDENCE), remedy=finding.remedy)
