"""Where published files come from, as an in-toto statement with SLSA's provenance as its predicate.

Specifications: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, https://slsa.dev/spec/v1.0/provenance
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mlx_publish
from mlx_publish.evidence.digests import FileDigest
from mlx_publish.evidence.evidence import Evidence, SourceSpec
from mlx_publish.text.files import json_text, write_atomically

STATEMENT, PREDICATE, SUMS = "statement.json", "predicate.json", "SHA256SUMS"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:mlx-publish:convert:1"
BY_HAND = "urn:mlx-publish:by-hand"
_HUB = "https://huggingface.co"


def write_provenance(
    folder: Path, evidence: Evidence, files: Iterable[FileDigest], environment: Mapping[str, str]
) -> None:
    """Write the statement, its predicate alone, and the digests as `sha256sum` prints them, as attesters want them.

    `environment` is the job's; what it says of GitHub's run becomes the builder.
    """
    subjects = sorted(files, key=lambda file: file.path)
    predicate = _predicate(evidence, environment)
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": file.path, "digest": {"sha256": file.sha256}} for file in subjects],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }
    write_atomically(folder / STATEMENT, json_text(statement))
    write_atomically(folder / PREDICATE, json_text(predicate))
    write_atomically(folder / SUMS, "".join(f"{file.sha256}  {file.path}\n" for file in subjects))


def _predicate(evidence: Evidence, environment: Mapping[str, str]) -> dict[str, Any]:
    source = evidence.source
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
            "resolvedDependencies": [_source(source), *_packages(evidence.tools)],
        },
        "runDetails": {
            "builder": {"id": _builder(environment), "version": {"mlx-publish": mlx_publish.__version__}},
            "metadata": _metadata(environment),
        },
    }


def _source(source: SourceSpec) -> dict[str, Any]:
    """Return a repo at its commit, or a folder by the digest over its files, which is none of a single file."""
    if source.repo:
        return {"uri": f"{_HUB}/{source.repo}", "digest": {"gitCommit": source.identity}, "name": source.name}
    return {"name": source.name, "digest": {"mlx-publish-listing": source.identity}}


def _packages(tools: Mapping[str, str]) -> list[dict[str, str]]:
    versions = {**tools, "mlx-publish": mlx_publish.__version__}
    return [
        {"uri": f"pkg:pypi/{quote(name)}@{quote(version)}", "name": name} for name, version in sorted(versions.items())
    ]


def _builder(environment: Mapping[str, str]) -> str:
    server, workflow = environment.get("GITHUB_SERVER_URL"), environment.get("GITHUB_WORKFLOW_REF")
    return f"{server}/{workflow}" if server and workflow else BY_HAND


def _metadata(environment: Mapping[str, str]) -> dict[str, str]:
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT")
    server, repo, run, attempt = (environment.get(name) for name in names)
    if not (server and repo and run):
        return {}
    return {"invocationId": f"{server}/{repo}/actions/runs/{run}/attempts/{attempt or 1}"}
