"""Signing in the name of a job: against a CA and a log on loopback, through sigstore's own client."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from mlx_publish.errors import BadInput, SurroundingsError
from mlx_publish.model.files import MemoryFiles
from mlx_publish.recipes.policy import Policy, PolicySpec
from mlx_publish.signing.bundle import read_bundle
from mlx_publish.signing.keyless import Named, named_in, sign_keyless
from mlx_publish.signing.model import Signer
from mlx_publish.signing.statement import Signed, statement_of
from mlx_publish.signing.verifying import Wanted, measurer, signatures
from signing_keys import make_pair
from sigstore_loopback import ISSUER, REPO, WORKFLOW, Loopback

FILES = {"config.json": b"{}", "README.md": b"# x\n"}


@pytest.fixture
def loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    with Loopback() as running:
        for name, value in running.environment(tmp_path / "trust.json").items():
            monkeypatch.setenv(name, value)
        yield running


def statement(files: Mapping[str, bytes]) -> bytes:
    return statement_of(Signed("lab/x", {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}))


def judged(files: Mapping[str, bytes], wanted: Wanted) -> dict[str, tuple[str, str]]:
    sha256 = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    findings = signatures(MemoryFiles(files), sha256, wanted, measurer(MemoryFiles(files), wanted))
    return {finding.id: (finding.status, finding.message) for finding in findings}


def test_a_job_signs_by_its_workflow_and_who_expects_it_is_told_so(loopback: Loopback) -> None:
    files = FILES | {"model.sig": sign_keyless(statement(FILES)).encode()}
    assert [path.partition("?")[0] for path in loopback.asked] == [
        "/identity",
        "/api/v2/signingCert",
        "/api/v1/log/entries",
    ]
    assert named_in(read_bundle(files["model.sig"])) == Named(WORKFLOW, ISSUER, REPO)
    status, message = judged(files, Wanted(identity=WORKFLOW))["signed-by"]
    assert status == "pass"
    assert WORKFLOW in message
    status, message = judged(files, Wanted())["signed-by"]
    assert status == "skip"
    assert WORKFLOW in message
    assert judged(files | {"config.json": b"[]"}, Wanted(identity=WORKFLOW))["signature-fits"][0] == "fail"


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(identity="https://github.com/eve/x/.github/workflows/publish.yml@refs/heads/main"),
        Wanted(identity=WORKFLOW, issuer="https://accounts.example.com"),
        Wanted(identity=WORKFLOW[:-1]),
    ],
)
def test_another_identity_or_issuer_is_refused(loopback: Loopback, wanted: Wanted) -> None:
    files = FILES | {"model.sig": sign_keyless(statement(FILES)).encode()}
    assert judged(files, wanted)["signed-by"][0] == "fail"


def test_of_a_workflow_that_many_call_the_repo_tells_them_apart(loopback: Loopback) -> None:
    files = FILES | {"model.sig": sign_keyless(statement(FILES)).encode()}
    status, message = judged(files, Wanted(identity=WORKFLOW, repository="lab/models"))["signed-by"]
    assert status == "pass"
    assert f"run for {REPO}" in message
    assert judged(files, Wanted(identity=WORKFLOW, repository="eve/models"))["signed-by"][0] == "fail"


def test_a_bundle_of_another_sigstore_or_with_a_changed_part_is_refused(
    loopback: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = sign_keyless(statement(FILES))
    for change in ("payload", "certificate", "log", "signature"):
        data = json.loads(text)
        if change == "payload":
            other = json.loads(sign_keyless(statement({"config.json": b"{}"})))
            data["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"]
        elif change == "certificate":
            loopback.identity = "https://github.com/eve/x/.github/workflows/y.yml@refs/heads/main"
            data["verificationMaterial"]["certificate"] = json.loads(sign_keyless(statement(FILES)))[
                "verificationMaterial"
            ]["certificate"]
            loopback.identity = WORKFLOW
        elif change == "log":
            data["verificationMaterial"]["tlogEntries"] = []
        else:
            data["dsseEnvelope"]["signatures"][0]["sig"] = "AAAA"
        files = FILES | {"model.sig": json.dumps(data).encode()}
        assert judged(files, Wanted(identity=WORKFLOW))["signed-by"][0] == "fail", change
    with Loopback() as elsewhere:
        for name, value in elsewhere.environment(tmp_path / "other.json").items():
            monkeypatch.setenv(name, value)
        files = FILES | {"model.sig": text.encode()}
        assert judged(files, Wanted(identity=WORKFLOW))["signed-by"][0] == "fail"


def test_a_key_and_an_identity_are_not_mixed_up(loopback: Loopback, tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    files = FILES | {"model.sig": sign_keyless(statement(FILES)).encode()}
    assert judged(files, Wanted(key=pair.public))["signed-by"][0] == "fail"
    with pytest.raises(BadInput):
        Wanted(key=pair.public, identity=WORKFLOW)


def test_others_verify_it(loopback: Loopback, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for name, data in (FILES | {"model.sig": sign_keyless(statement(FILES)).encode()}).items():
        (tmp_path / "x" / name).write_bytes(data)
    (tmp_path / "x/.gitattributes").write_text("x\n")
    words = [
        sys.executable,
        "-m",
        "model_signing",
        "verify",
        "sigstore",
        str(tmp_path / "x"),
        "--signature",
        str(tmp_path / "x/model.sig"),
        "--identity",
        WORKFLOW,
        "--identity_provider",
        ISSUER,
        "--trust_config",
        str(tmp_path / "trust.json"),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "x/README.md").write_bytes(b"# y\n")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "README.md" in done.stdout + done.stderr


def test_a_job_without_an_identity_is_told_before_anything_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for name in ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BadInput, match="identity") as caught:
        Signer(Policy(PolicySpec(sign="sigstore")))
    assert "id-token: write" in caught.value.remedy


@pytest.mark.parametrize("fails", ["signingCert", "log/entries", "identity"])
def test_a_service_that_is_down_is_the_surroundings_fault_and_shows_no_token(loopback: Loopback, fails: str) -> None:
    loopback.fails = fails
    with pytest.raises(SurroundingsError) as caught:
        sign_keyless(statement(FILES))
    assert "request-token" not in str(caught.value)
    assert "eyJ" not in str(caught.value)
