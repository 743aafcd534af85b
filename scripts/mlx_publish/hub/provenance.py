"""The provenance of published files: an in-toto statement with SLSA's provenance as its predicate.

Specifications: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, https://slsa.dev/spec/v1.0/provenance
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import mlx_publish
from mlx_publish.evidence.digests import FileDigest
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.text.files import json_text, write_atomically

STATEMENT, PREDICATE, SUMS = "statement.json", "predicate.json", "SHA256SUMS"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:mlx-publish:convert:1"
BY_HAND = "urn:mlx-publish:by-hand"
_HUB = "https://huggingface.co"


def write_provenance(folder: Path, evidence: Evidence, files: Iterable[FileDigest], *, builder: str, run: str) -> None:
    """Write the statement, its predicate alone, and the digests as `sha256sum` prints them, as attesters want them.

    `builder` is the address of the workflow that published them, `run` of its run; both are empty by hand.
    """
    subjects = sorted(files, key=lambda file: file.path)
    predicate = _predicate(evidence, builder, run)
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": file.path, "digest": {"sha256": file.sha256}} for file in subjects],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }
    write_atomically(folder / STATEMENT, json_text(statement))
    write_atomically(folder / PREDICATE, json_text(predicate))
    write_atomically(folder / SUMS, "".join(f"{file.sha256}  {file.path}\n" for file in subjects))


def _adapter(evidence: Evidence) -> list[dict[str, object]]:
    if (adapter := evidence.adapter) is None:
        return []
    if adapter.repo is None:
        return [{"name": adapter.name, "digest": {"mlx-publish-listing": adapter.identity}}]
    return [{"uri": f"{_HUB}/{adapter.repo}", "digest": {"gitCommit": adapter.identity}, "name": adapter.name}]


def _predicate(evidence: Evidence, builder: str, run: str) -> dict[str, object]:
    source, versions = evidence.source, {**evidence.tools, "mlx-publish": mlx_publish.__version__}
    origin: dict[str, object] = {"name": source.name, "digest": {"mlx-publish-listing": source.identity}}
    if source.repo:
        origin = {"uri": f"{_HUB}/{source.repo}", "digest": {"gitCommit": source.identity}, "name": source.name}
    packages = [
        {"uri": f"pkg:pypi/{quote(name)}@{quote(version)}", "name": name} for name, version in sorted(versions.items())
    ]
    wanted = {
        "recipe": evidence.recipe,
        "source": source.repo or source.name,
        "revision": source.identity,
        "variant": {key: value for key, value in evidence.variant.plain.items() if value is not None},
    }
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": wanted,
            "internalParameters": {},
            "resolvedDependencies": [origin, *_adapter(evidence), *packages],
        },
        "runDetails": {
            "builder": {"id": builder or BY_HAND, "version": {"mlx-publish": mlx_publish.__version__}},
            "metadata": {"invocationId": run} if run else {},
        },
    }
