"""The signature of a published model: others' tool accepts it, and every file that is not as it was is named."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from conftest import once
from mlx_publish.errors import BadInput, Refused, SurroundingsError
from mlx_publish.hub.manifest import manifest
from mlx_publish.model.files import MemoryFiles
from mlx_publish.recipes.policy import EMPTY, Policy, PolicySpec
from mlx_publish.signing.bundle import read_bundle
from mlx_publish.signing.keys import KEY, PASSWORD, sign_with_key, take_key
from mlx_publish.signing.model import Signer
from mlx_publish.signing.statement import Signed, Unreadable, read_statement, statement_of
from mlx_publish.signing.verifying import Wanted, measurer, signatures
from mlx_publish.text.masking import without_secrets
from models import answer_table, make_scripted
from pipeline import User, digests, read_json
from signing_keys import Pair, make_pair, others_sign, others_verify, put_recipe


def publish(root: Path) -> None:
    """Publish one folder signed by a key, as a user does."""
    make_scripted(root / "model", answer_table())
    pair, home = make_pair(root / "keys"), root / "home"
    home.mkdir()
    (home / "mlx-publish.yaml").write_text("sign: key\n")
    put_recipe(root, home)
    User(home, more={KEY: str(pair.private)}).run("publish", "--recipe", "r.json", "--work", root / "work")


@pytest.fixture(scope="module")
def made(shared: Path) -> Path:
    return once(shared / "signed", publish)


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """A copy of the published folder."""
    shutil.copytree(made / "out", tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def pair(made: Path) -> Pair:
    return Pair(made / "keys/signing.pem", made / "keys/signing.pub.pem")


def verify(home: Path, place: Path, *words: object, code: int = 0) -> dict[str, dict[str, Any]]:
    report = json.loads(User(home).run("verify", place, "--json", *words, code=code).out)
    return {check["id"]: check for check in report["checks"]}


def test_the_tool_of_others_accepts_it_and_card_and_evidence_are_covered(out: Path, pair: Pair) -> None:
    assert others_verify(out, pair.public) == (0, "Verification succeeded\n")
    listed = read_statement(read_bundle((out / "model.sig").read_bytes()).payload).sha256
    assert listed == {path: digest for path, digest in digests(out).items() if path != "model.sig"}
    assert {"README.md", "mlx-publish.json", "config.json", "model.safetensors"} <= set(listed)


def test_what_a_hub_and_its_client_add_to_a_download_breaks_nothing(out: Path, pair: Pair, tmp_path: Path) -> None:
    (out / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    (out / ".cache/huggingface/download").mkdir(parents=True)
    (out / ".cache/huggingface/download/config.json.metadata").write_text("abc\n")
    assert others_verify(out, pair.public)[0] == 0
    assert verify(tmp_path, out, "--key", pair.public)["signed-by"]["status"] == "pass"


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_what_others_sign_is_verified_here_and_what_is_signed_here_there(tmp_path: Path, curve: Any) -> None:
    pair, folder = make_pair(tmp_path, curve=curve), tmp_path / "x"
    (folder / "sub").mkdir(parents=True)
    for name, text in {"b.json": "{}", "sub/a": "x", "sub.json": "y", ".gitattributes": "z"}.items():
        (folder / name).write_text(text)
    others_sign(folder, pair.private)
    assert verify(tmp_path, folder, "--key", pair.public, code=1)["signed-by"]["status"] == "pass"
    files = {path: (folder / path).read_bytes() for path in ("b.json", "sub/a", "sub.json")}
    theirs = files | {"model.sig": (folder / "model.sig").read_bytes()}
    assert judge(theirs, pair) == {"signature-fits": "pass", "signed-by": "pass", "measured-by": "skip"}
    (folder / "model.sig").write_bytes(sign(files, pair))
    assert others_verify(folder, pair.public)[0] == 0


def test_a_flipped_byte_in_any_file_is_named_by_both(out: Path, pair: Pair, tmp_path: Path) -> None:
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert len(names) >= 7
    for name in names:
        if name == "model.sig":
            continue
        whole = (out / name).read_bytes()
        (out / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        code, message = others_verify(out, pair.public)
        assert code == 1
        assert name in message
        (out / name).write_bytes(whole)
    (out / "README.md").write_text("Mine.\n")
    checks = verify(tmp_path, out, code=1)
    assert checks["signature-fits"]["details"]["other"] == ["README.md"]
    assert "README.md" in checks["signature-fits"]["message"]


def test_whose_key_it_is_is_said_and_proven_only_where_it_is_given(out: Path, pair: Pair, tmp_path: Path) -> None:
    unasked = verify(tmp_path, out)
    assert unasked["signature-fits"]["status"] == "pass"
    assert unasked["signed-by"]["status"] == "skip"
    assert "--key" in unasked["signed-by"]["message"]
    proven = verify(tmp_path, out, "--key", pair.public)["signed-by"]
    assert proven["status"] == "pass"
    assert "signing.pub.pem" in proven["message"]
    other = make_pair(tmp_path, "other")
    assert verify(tmp_path, out, "--key", other.public, code=1)["signed-by"]["status"] == "fail"
    assert verify(tmp_path, out, "--identity", "https://github.com/x", code=1)["signed-by"]["status"] == "fail"


def test_a_signature_that_was_asked_for_has_to_be_there(out: Path, pair: Pair, tmp_path: Path) -> None:
    (out / "model.sig").unlink()
    assert verify(tmp_path, out)["signature-fits"]["status"] == "skip"
    assert verify(tmp_path, out, "--key", pair.public, code=1)["signature-fits"]["status"] == "fail"


def test_added_and_lost_files_are_named(out: Path, pair: Pair, tmp_path: Path) -> None:
    (out / "modeling_x.py").write_text("import os\n")
    (out / "tokenizer_config.json").unlink()
    details = verify(tmp_path, out, "--key", pair.public, code=1)["signature-fits"]["details"]
    assert details["extra"] == ["modeling_x.py"]
    assert details["missing"] == ["tokenizer_config.json"]
    assert others_verify(out, pair.public)[0] == 1


def test_the_key_leaves_no_trace(made: Path, pair: Pair) -> None:
    lines = [line for line in pair.private.read_text().splitlines() if "---" not in line]
    for root in ("out", "work", "home"):
        for path in (made / root).rglob("*"):
            if path.is_file():
                text = path.read_bytes()
                assert not any(line.encode() in text for line in lines), path
                assert b"PRIVATE KEY" not in text, path


def test_publishing_again_changes_no_byte_and_digests_nothing_twice(made: Path, pair: Pair, tmp_path: Path) -> None:
    shutil.copytree(made / "work", tmp_path / "work")
    before = digests(made / "out")
    home = User(made / "home", more={KEY: pair.private.read_text()})
    home.run("upload", "--recipe", "r.json", "--work", tmp_path / "work", "--to", f"folder:{tmp_path}/again/out")
    again = digests(tmp_path / "again/out")
    assert {path for path in before if before[path] != again[path]} <= {"README.md", "mlx-publish.json", "model.sig"}
    home.run("upload", "--recipe", "r.json", "--work", tmp_path / "work", "--to", f"folder:{tmp_path}/again/out")
    assert digests(tmp_path / "again/out") == again
    sums = (tmp_path / "work/r/8bit/provenance/SHA256SUMS").read_text()
    assert f"{again['model.sig']}  model.sig\n" in sums
    assert not (tmp_path / "work/r/8bit/model/model.sig").exists()


def test_a_missing_key_is_said_before_anything_is_converted(made: Path, tmp_path: Path) -> None:
    home = User(made / "home")
    ended = home.run("publish", "--recipe", "r.json", "--work", tmp_path / "work", code=2)
    assert KEY in ended.text
    assert not (tmp_path / "work/r/8bit/model").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no key is set"),
        ("no key", "a file that cannot be read"),
        ("/nowhere/key.pem", "No such file"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "neither a private key"),
        ("/", "a file that cannot be read"),
    ],
)
def test_what_is_no_key_is_bad_input_and_never_shown(text: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        take_key({KEY: text})
    assert words in str(caught.value)
    assert "AAAA" not in str(caught.value)


def test_a_locked_key_needs_its_password(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, password="correct horse")
    environment = {KEY: str(pair.private), PASSWORD: "correct horse"}
    assert take_key(environment).curve.name == "secp256r1"
    assert environment == {KEY: ""}
    for wrong in ("", "another horse"):
        with pytest.raises(BadInput):
            take_key({KEY: str(pair.private), PASSWORD: wrong})


def test_a_key_of_a_curve_that_others_do_not_verify_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="curve"):
        take_key({KEY: str(make_pair(tmp_path, curve=ec.SECP256K1()).private)})
    assert take_key({KEY: str(make_pair(tmp_path, "wide", ec.SECP384R1()).private)}).curve.name == "secp384r1"


@pytest.fixture
def signed(tmp_path: Path) -> tuple[dict[str, bytes], Pair]:
    """Files in memory and their signature."""
    pair = make_pair(tmp_path / "own")
    files = {"config.json": b"{}", "a/b.jinja": b"x"}
    return files | {"model.sig": sign(files, pair)}, pair


def sign(files: Mapping[str, bytes], pair: Pair, change: Any = None) -> bytes:
    listed = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    statement = statement_of(Signed("lab/x", listed))
    if change:
        data = json.loads(statement)
        change(data)
        statement = json.dumps(data).encode()
    return sign_with_key(statement, take_key({KEY: str(pair.private)})).encode()


def judge(files: Mapping[str, bytes], pair: Pair | None = None) -> dict[str, str]:
    sha256 = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    wanted = Wanted(key=pair.public if pair else None)
    findings = signatures(MemoryFiles(files), sha256, wanted, measurer(MemoryFiles(files), wanted))
    return {finding.id: finding.status for finding in findings}


def test_it_is_good_as_it_was_made(signed: tuple[dict[str, bytes], Pair]) -> None:
    files, pair = signed
    assert judge(files, pair) == {"signature-fits": "pass", "signed-by": "pass", "measured-by": "skip"}


def _again(data: dict[str, Any]) -> None:
    data["predicate"]["resources"].append(dict(data["predicate"]["resources"][0]))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(predicateType="https://slsa.dev/provenance/v1"),
        lambda data: data.update(_type="x"),
        lambda data: data["subject"][0]["digest"].update(sha256="0" * 64),
        lambda data: data["subject"].append(data["subject"][0]),
        lambda data: data.update(subject=[]),
        lambda data: data["predicate"]["resources"].pop(),
        lambda data: data["predicate"].update(resources=None),
        lambda data: data["predicate"]["resources"][0].update(algorithm="blake2"),
        lambda data: data["predicate"]["resources"][0].update(digest=7),
        lambda data: data["predicate"]["resources"][0].update(name=["config.json"]),
        lambda data: data["predicate"]["serialization"].update(method="shards"),
        lambda data: data.update(predicate=9**999),
        _again,
    ],
)
def test_another_statement_is_refused_though_the_key_is_right(tmp_path: Path, change: Any) -> None:
    pair = make_pair(tmp_path)
    files = {"config.json": b"{}", "x.json": b"[]"}
    findings = judge(files | {"model.sig": sign(files, pair, change)}, pair)
    assert findings["signature-fits"] == "fail"


@pytest.mark.parametrize("ignored", [["config.json"], ["."], ["*"]])
def test_no_signature_makes_us_pass_over_a_file(tmp_path: Path, ignored: list[str]) -> None:
    pair = make_pair(tmp_path)
    text = sign({"x": b"1"}, pair, lambda data: data["predicate"]["serialization"].update(ignore_paths=ignored))
    assert judge({"x": b"1", "config.json": b"{}", "model.sig": text}, pair)["signature-fits"] == "fail"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"mediaType": ' + b"9" * 10_000 + b"}",
        b"null",
        b'{"dsseEnvelope": 1, "verificationMaterial": 1, "mediaType": 1}',
        b" " * (5 << 20),
    ],
)
def test_what_is_no_bundle_is_refused_and_no_bug(tmp_path: Path, text: bytes) -> None:
    assert judge({"x": b"1", "model.sig": text})["signature-fits"] == "fail"
    with pytest.raises(Unreadable):
        read_bundle(text)


def test_a_changed_envelope_is_not_by_the_key(signed: tuple[dict[str, bytes], Pair], tmp_path: Path) -> None:
    files, pair = signed
    data = json.loads(files["model.sig"])
    twice = json.loads(files["model.sig"])
    twice["dsseEnvelope"]["signatures"] *= 2
    assert judge(files | {"model.sig": json.dumps(twice).encode()}, pair)["signature-fits"] == "fail"
    payload = base64.b64decode(data["dsseEnvelope"]["payload"]).replace(b"lab/x", b"lab/y")
    data["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    assert judge(files | {"model.sig": json.dumps(data).encode()}, pair)["signed-by"] == "fail"
    unsigned = {path: data for path, data in files.items() if path != "model.sig"}
    foreign = json.loads(sign(unsigned, make_pair(tmp_path, "eve")))
    foreign["verificationMaterial"] = json.loads(files["model.sig"])["verificationMaterial"]
    assert judge(files | {"model.sig": json.dumps(foreign).encode()}, pair)["signed-by"] == "fail"


def test_nothing_is_signed_that_verifiers_would_pass_over(tmp_path: Path) -> None:
    (tmp_path / "model/.cache").mkdir(parents=True)
    (tmp_path / "model/.cache/x").write_text("y")
    policy = Policy(PolicySpec(sign="key"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY, str(make_pair(tmp_path).private))
        signer = Signer(policy)
        with pytest.raises(Refused, match=r"\.cache/x"):
            signer.signed(manifest(tmp_path / "model"), "x", tmp_path)


def test_without_a_policy_nothing_is_signed_and_no_library_is_loaded(tmp_path: Path) -> None:
    assert Signer(EMPTY).signed((), "x", tmp_path) == ()
    assert not list(tmp_path.iterdir())


def test_the_receipt_names_the_signature(made: Path) -> None:
    report = read_json(made / "work/r/8bit/upload.json")
    assert report["result"]["files"] == len(digests(made / "out"))


def test_without_the_extra_files_are_compared_and_a_key_that_is_asked_for_is_the_surroundings_fault(
    signed: tuple[dict[str, bytes], Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    files, pair = signed
    for name in ("cryptography", "cryptography.hazmat.primitives.asymmetric", "sigstore", "sigstore.models"):
        monkeypatch.setitem(sys.modules, name, None)
    assert judge(files) == {"signature-fits": "pass", "signed-by": "skip", "measured-by": "skip"}
    with pytest.raises(SurroundingsError, match="cryptography"):
        judge(files, pair)
    with pytest.raises(SurroundingsError, match="cryptography"):
        take_key({KEY: str(pair.private)})


def test_a_part_of_the_key_is_covered_in_every_message(tmp_path: Path) -> None:
    text = make_pair(tmp_path).private.read_text()
    take_key({KEY: text})
    for line in text.splitlines()[1:-1]:
        assert line not in without_secrets(f"x {line} y")


def test_a_model_brings_no_signature_of_its_own(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "work", tmp_path / "work")
    shutil.copyfile(made / "out/model.sig", tmp_path / "work/r/8bit/model/model.sig")
    (tmp_path / "r.json").write_text((made / "home/r.json").read_text())
    output = User(tmp_path).run("upload", "--recipe", "r.json", "--work", tmp_path / "work", code=1).text
    assert "model.sig" in output


@pytest.mark.parametrize(
    "words",
    [
        ("--identity", ""),
        ("--identity", " "),
        ("--github", ""),
        ("--key", ""),
        ("--signers", ""),
        ("--issuer", ""),
        ("--repository", "a/b"),
        ("--workflow", "a/b/.github/workflows/c.yml"),
        ("--key", "/nowhere"),
        ("--key", "README.md"),
        ("--key", "model.safetensors"),
        ("--signers", "/dev/null"),
        ("--key", "x", "--identity", "y"),
        ("--signers", "x", "--github", "a/b"),
    ],
)
def test_who_asks_for_nothing_by_mistake_is_told_so(out: Path, words: tuple[str, ...]) -> None:
    User(out).run("verify", out, *words, code=2)
