"""The in-toto statement: what was made of what, by whom, in the words of the specification's own library."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from google.protobuf import json_format  # type: ignore[import-untyped]
from in_toto_attestation.v1 import statement_pb2  # type: ignore[import-untyped]
from in_toto_attestation.v1.statement import Statement  # type: ignore[import-untyped]

from mlx_publish.evidence.digests import FileDigest
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.hub.provenance import PREDICATE, STATEMENT, SUMS, write_provenance
from pipeline import digests, read_json
from samples import COMMIT, make_evidence, record

BUILDER = "https://github.com/lab/models/.github/workflows/publish.yml@refs/tags/tiny/v1"
RUN = "https://github.com/lab/models/actions/runs/12/attempts/2"
FILES = [FileDigest("b.json", 3, "b" * 64), FileDigest("README.md", 2, "a" * 64)]


def validated(path: Path) -> dict[str, Any]:
    """Read a statement with in-toto's own library, which raises where it is none."""
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    Statement.copy_from_pb(json_format.ParseDict(data, statement_pb2.Statement())).validate()
    return data


def test_of_a_run_on_github(tmp_path: Path) -> None:
    write_provenance(tmp_path, record(), FILES, builder=BUILDER, run=RUN)
    statement = validated(tmp_path / STATEMENT)
    assert [(subject["name"], subject["digest"]["sha256"]) for subject in statement["subject"]] == [
        ("README.md", "a" * 64),
        ("b.json", "b" * 64),
    ]
    predicate = statement["predicate"]
    assert predicate == read_json(tmp_path / PREDICATE)
    assert (tmp_path / SUMS).read_text() == f"{'a' * 64}  README.md\n{'b' * 64}  b.json\n"
    built = predicate["buildDefinition"]
    assert built["externalParameters"] == {
        "recipe": "tiny",
        "source": "acme/Tiny",
        "revision": COMMIT,
        "variant": {"label": "4bit", "quantized": True, "bits": 4, "group_size": 64, "mode": "affine"},
    }
    source, *packages = built["resolvedDependencies"]
    assert source["digest"] == {"gitCommit": COMMIT}
    assert [subject["uri"].partition("@")[0] for subject in packages] == [
        "pkg:pypi/mlx",
        "pkg:pypi/mlx-lm",
        "pkg:pypi/mlx-publish",
    ]
    details = predicate["runDetails"]
    assert details["builder"]["id"] == BUILDER
    assert details["metadata"] == {"invocationId": RUN}


def test_by_hand_and_of_a_folder(tmp_path: Path) -> None:
    evidence = make_evidence()
    evidence["source"] |= {"repo": None, "identity": "c" * 64}
    write_provenance(tmp_path, Evidence.of(evidence), FILES, builder="", run="")
    predicate = validated(tmp_path / STATEMENT)["predicate"]
    assert predicate["runDetails"]["builder"]["id"] == "urn:mlx-publish:by-hand"
    assert predicate["runDetails"]["metadata"] == {}
    assert predicate["buildDefinition"]["resolvedDependencies"][0] == {
        "name": "Tiny",
        "digest": {"mlx-publish-listing": "c" * 64},
    }


def test_it_names_every_file_that_was_published(published: Any) -> None:
    [folder] = (published.root / "work").glob("*/4bit/provenance")
    statement = validated(folder / STATEMENT)
    assert {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]} == digests(published.out)
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", folder / SUMS], cwd=published.out, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr
