"""Evidence that who measured vouches for: signed by `run`, asked for by `upload`, told by `verify`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from conftest import once
from mlx_publish.errors import BadInput, SurroundingsError
from mlx_publish.hooks.signature import look
from mlx_publish.recipes.policy import EMPTY, Policy, read_policy
from mlx_publish.signing import attested, evidence_signature, programs
from mlx_publish.signing.attested import MEASURED, SignedEvidence, Vouchers, judged, vouched
from mlx_publish.signing.evidence_signature import KEY, is_of_this_machine, sign_evidence
from mlx_publish.text.files import json_text
from models import answer_table, make_scripted
from pipeline import User
from samples import record
from signing_keys import allowed, make_ssh_key, put_recipe

EVIDENCE = record(recipe="Grün")
FORGED = record(recipe="Grün", licence={"id": "gpl", "name": None, "link": None})
TEXT = json_text(EVIDENCE.plain).encode()


def measure(root: Path) -> None:
    """A runner with a key measures, and puts the card where people review it."""
    make_scripted(root / "model", answer_table())
    key, home = make_ssh_key(root / "keys"), root / "home"
    home.mkdir()
    (home / "signers.txt").write_text(allowed(key))
    (home / "mlx-publish.yaml").write_text("attested:\n  signers: signers.txt\n")
    put_recipe(root, home)
    User(home, more={KEY: str(key)}).run("run", "--recipe", "r.json", "--work", root / "work", "--into", home / "cards")


@pytest.fixture
def home(shared: Path, tmp_path: Path) -> Path:
    """A copy of the repo with the reviewed card; its work folder is shared, as the machine's own is."""
    made = once(shared / "attested", measure)
    shutil.copytree(made / "home", tmp_path / "home")
    shutil.copytree(made / "work", tmp_path / "work")
    shutil.copytree(made / "keys", tmp_path / "keys")
    return tmp_path / "home"


def card(home: Path) -> Path:
    [card] = (home / "cards").rglob("evidence.json")
    return card.parent


def test_the_machine_that_measured_signs_and_upload_and_verify_name_it(home: Path) -> None:
    assert (card(home) / "evidence.sig").read_text().startswith("-----BEGIN SSH SIGNATURE-----")
    # Another destination would be another evidence; so the reviewed one is published where it says.
    words = ("upload", "--recipe", "r.json", "--work", home.parent / "work", "--cards", "cards", "-v")
    assert "is signed by runner (key SHA256:" in User(home).run(*words).text
    out = Path(json.loads((home / "r.json").read_text())["to"].removeprefix("folder:"))
    assert (out / "mlx-publish.sig").read_bytes() == (card(home) / "evidence.sig").read_bytes()
    report = json.loads(User(home).run("verify", out, "--json", "--signers", "signers.txt").out)
    [check] = [check for check in report["checks"] if check["id"] == "measured-by"]
    assert check["status"] == "pass"
    assert "runner" in check["message"]
    (home / "eve.txt").write_text(allowed(make_ssh_key(home, "eve")))
    assert "by no key that is listed" in User(home).run("verify", out, "--signers", "eve.txt", code=1).text
    report = json.loads(User(home).run("verify", out, "--json").out)
    assert [check["status"] for check in report["checks"] if check["id"] == "measured-by"] == ["skip"]


def test_upload_refuses_evidence_that_nobody_signed_and_names_what_is_missing(home: Path) -> None:
    (card(home) / "evidence.sig").unlink()
    output = (
        User(home).run("upload", "--recipe", "r.json", "--work", home.parent / "work", "--cards", "cards", code=1).text
    )
    assert "evidence-attested" in output
    assert "evidence.sig" in output
    assert "MLX_PUBLISH_EVIDENCE_KEY" in output


def test_upload_refuses_numbers_that_were_changed_after_they_were_signed(home: Path) -> None:
    path = card(home) / "evidence.json"
    data = json.loads(path.read_text())
    data["fidelity"]["mean_kld"] = 0.0
    path.write_text(json_text(data))
    output = (
        User(home).run("upload", "--recipe", "r.json", "--work", home.parent / "work", "--cards", "cards", code=1).text
    )
    assert "no signature of" in output


def test_a_card_s_folder_may_hold_the_signature(home: Path) -> None:
    assert sorted(path.name for path in card(home).iterdir()) == ["README.md", "evidence.json", "evidence.sig"]


def test_the_review_asks_for_the_signature_too(home: Path) -> None:
    [folder] = {path.parent.relative_to(home) for path in (home / "cards").rglob("evidence.json")}
    assert list(look([folder], home)) == []
    text = (home / folder / "evidence.sig").read_text()
    for wrong in ("", "pickle", text + text, text.replace("BEGIN", "begin"), text[:-40] + "AAAA\n" + text[-30:]):
        (home / folder / "evidence.sig").write_text(wrong)
        faults = list(look([folder], home))
        assert faults, wrong
        assert {fault.place.name.partition("/")[0] for fault in faults} == {"cards"}
    (home / folder / "evidence.sig").unlink()
    [missing] = look([folder], home)
    assert "evidence.sig" in str(missing)
    (home / "signers.txt").unlink()
    [without] = look([folder], home)
    assert "list of signers" in str(without)


def test_without_a_policy_the_review_takes_only_what_is_a_signature(home: Path) -> None:
    (home / "mlx-publish.yaml").unlink()
    [folder] = {path.parent.relative_to(home) for path in (home / "cards").rglob("evidence.json")}
    assert list(look([folder], home)) == []
    (home / folder / "evidence.sig").write_bytes(b"\x80\x04K\x01.")
    assert len(list(look([folder], home))) == 1


def key_of(folder: Path, name: str = "runner") -> Path:
    return make_ssh_key(folder, name)


def signed(folder: Path, key: Path, text: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setenv(KEY, str(key))
    assert sign_evidence(text, folder / "sig")
    return (folder / "sig").read_bytes()


def by(folder: Path, signers: str) -> Policy:
    (folder / "signers.txt").write_text(signers)
    (folder / "mlx-publish.yaml").write_text("attested: {signers: signers.txt}\n")
    return read_policy(folder / "mlx-publish.yaml")


def test_what_the_policy_does_not_ask_for_is_told_and_not_refused() -> None:
    assert judged(EVIDENCE, TEXT, None, EMPTY, "x").status == "skip"


def test_a_signature_for_another_purpose_or_by_a_stranger_or_of_other_bytes_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, eve = key_of(tmp_path), key_of(tmp_path, "eve")
    policy = by(tmp_path, allowed(key))
    good = signed(tmp_path, key, TEXT, monkeypatch)
    assert judged(EVIDENCE, TEXT, good, policy, "e.json").status == "pass"
    assert judged(FORGED, TEXT, good, policy, "e.json").status == "fail"
    other = json_text(FORGED.plain).encode()
    assert judged(FORGED, other, good, policy, "e.json").status == "fail"
    assert judged(EVIDENCE, TEXT, signed(tmp_path, eve, TEXT, monkeypatch), policy, "e.json").status == "fail"
    monkeypatch.setattr(evidence_signature, "NAMESPACE", "git")
    elsewhere = signed(tmp_path, key, TEXT, monkeypatch)
    monkeypatch.undo()
    assert judged(EVIDENCE, TEXT, elsewhere, policy, "e.json").status == "fail"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\0" * 100,
        b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n",
        b"A" * 100_000,
        b"-----BEGIN SSH SIGNATURE-----\n" + b"U1NIU0lH" * 200 + b"\n-----END SSH SIGNATURE-----\n",
    ],
)
def test_what_is_no_signature_is_refused_and_no_bug(tmp_path: Path, text: bytes) -> None:
    findings = judged(EVIDENCE, TEXT, text, by(tmp_path, allowed(key_of(tmp_path))), "cards/a/b/evidence.json")
    assert findings.status == "fail"
    assert "cards/a/b/evidence.sig" in findings.message


def test_a_key_that_has_run_out_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = key_of(tmp_path)
    old = allowed(key).replace("namespaces", 'valid-before="20200101",namespaces')
    assert judged(EVIDENCE, TEXT, signed(tmp_path, key, TEXT, monkeypatch), by(tmp_path, old), "e").status == "fail"


def test_a_list_of_signers_that_is_missing_or_empty_is_bad_input_at_its_line(tmp_path: Path) -> None:
    policy = by(tmp_path, " \n")
    for _ in range(2):
        with pytest.raises(BadInput, match=r"mlx-publish\.yaml:1"):
            judged(EVIDENCE, TEXT, b"x", policy, "e")
        (tmp_path / "signers.txt").unlink(missing_ok=True)


@pytest.mark.parametrize(
    "rules",
    [
        "attested: {}",
        "attested: yes",
        "attested: {signers: a, github: b/c}",
        "attested: {signers: ../../etc/passwd}",
        "attested: {signers: /etc/passwd}",
        "attested: {workflow: a/b/.github/workflows/c.yml}",
        "attested: {github: x}",
        "attested: {github: a/b, workflow: --deny}",
        "sign: maybe",
        "sign: true",
        "attested: {github: '--help/x'}",
        "attested: {signers: ''}",
    ],
)
def test_a_policy_that_asks_for_nothing_known_is_bad_input(tmp_path: Path, rules: str) -> None:
    (tmp_path / "mlx-publish.yaml").write_text(f"{rules}\n")
    with pytest.raises(BadInput, match=r"mlx-publish\.yaml:1"):
        read_policy(tmp_path / "mlx-publish.yaml")


def test_without_a_key_an_old_signature_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signed(tmp_path, key_of(tmp_path), TEXT, monkeypatch)
    monkeypatch.delenv(KEY)
    assert is_of_this_machine(tmp_path / "sig")
    assert not sign_evidence(TEXT, tmp_path / "sig")
    assert not (tmp_path / "sig").exists()


def test_another_key_signs_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signed(tmp_path, key_of(tmp_path), TEXT, monkeypatch)
    assert is_of_this_machine(tmp_path / "sig")
    monkeypatch.setenv(KEY, str(key_of(tmp_path, "second")))
    assert not is_of_this_machine(tmp_path / "sig")
    (tmp_path / "sig").write_text("x")
    assert not is_of_this_machine(tmp_path / "sig")


@pytest.mark.parametrize("name", ["", "nowhere", "."])
def test_a_key_that_cannot_sign_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / name if name else tmp_path / "text"
    (tmp_path / "text").write_text("no key\n")
    monkeypatch.setenv(KEY, str(path))
    with pytest.raises(BadInput, match=KEY):
        sign_evidence(TEXT, tmp_path / "sig")
    assert not (tmp_path / "sig").exists()


GH = """#!/bin/sh
printf '%s\\n' "$@" >"{folder}/words"
env >"{folder}/environment"
cp "$3" "{folder}/given"
[ {code} = 0 ] || printf 'Error: no attestations found for subject\\n\\n' >&2
exit {code}
"""


def stand_in(folder: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gh that answers as GitHub's own does."""
    path = folder / "bin/gh"
    path.parent.mkdir(exist_ok=True)
    path.write_text(GH.format(folder=folder, code=code))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    monkeypatch.setenv("GH_TOKEN", "gh-own")


def test_github_is_asked_for_these_bytes_this_repo_and_this_workflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, 0, monkeypatch)
    asked = Vouchers(github="lab/models", workflow="kit/kit/.github/workflows/publish.yml")
    finding = vouched(SignedEvidence(TEXT, None), asked)
    assert finding.status == "pass"
    words = (tmp_path / "words").read_text().splitlines()
    assert words[:2] == ["attestation", "verify"]
    assert words[3:] == [
        "--repo",
        "lab/models",
        "--predicate-type",
        MEASURED,
        "--signer-workflow",
        "kit/kit/.github/workflows/publish.yml",
    ]
    assert (tmp_path / "given").read_bytes() == TEXT
    shown = (tmp_path / "environment").read_text()
    assert "gh-own" in shown
    assert "hf_secretsecret" not in shown


def test_what_github_does_not_attest_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, 1, monkeypatch)
    finding = vouched(SignedEvidence(TEXT, None), Vouchers(github="lab/models"))
    assert finding.status == "fail"
    assert "no attestations found" in finding.message


def test_a_missing_program_is_the_surroundings_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SurroundingsError, match="gh"):
        vouched(SignedEvidence(TEXT, None), Vouchers(github="lab/models"))
    with pytest.raises(SurroundingsError, match="ssh-keygen"):
        vouched(SignedEvidence(TEXT, b"x"), Vouchers(signers=b"x"))


def test_programs_see_no_token_of_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GH_TOKEN", "gh-own")
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    (tmp_path / "ssh-keygen").write_text(f"#!/bin/sh\nenv >{tmp_path}/environment\n")
    (tmp_path / "ssh-keygen").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    programs.ssh_keygen("-y")
    shown = (tmp_path / "environment").read_text()
    assert "gh-own" not in shown
    assert "hf_x" not in shown
    assert attested.EVIDENCE == "mlx-publish.json"
