"""What evidence has to look like: the real one does, and what is wrong is named by its key."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, get_args

import jsonschema  # type: ignore[import-untyped]  # it comes with check-jsonschema
import pytest
from pydantic import ValidationError

from conftest import Published
from mlx_publish.evidence.digests import SCHEMA
from mlx_publish.evidence.evidence import Evidence, NotEvidence, faults
from mlx_publish.text.files import json_text
from samples import make_evidence
from samples_of_plans import make_learned, make_planned

SCHEMA_FILE = Path(__file__).parents[1] / "scripts/mlx_publish/schemas/evidence.schema.json"
FULL = make_evidence()


def changed(path: str, value: Any) -> dict[str, Any]:
    """The sample with another value at a path of keys with dots."""
    found = copy.deepcopy(FULL)
    at: Any = found
    *parents, last = path.split(".")
    for part in parents:
        at = at[int(part) if part.isdigit() else part]
    at[int(last) if last.isdigit() else last] = value
    return found


def test_real_evidence_is_whole(published: Published) -> None:
    real = json.loads((published.out / "mlx-publish.json").read_text(encoding="utf-8"))
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    for evidence in (real, FULL, make_evidence(smoke=None, fidelity=None, benchmark=None)):
        assert list(faults(evidence)) == []
        jsonschema.validate(evidence, schema)


LATER = {
    "system_later": "kept",
    "developer": "lost",
    "calls": {"two calls": "shown"},
    "tool_forms": {"anyOf": "untyped"},
    "system_parts": "shown",
    "result_parts": "printed",
    "switches": {"thinking": [True], "thinking_budget": [0, 512]},
}


def test_what_later_versions_tell_of_a_template_is_known_and_need_not_be_there() -> None:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    old = FULL["smoke"]["capabilities"]
    for told in (old, {**old, **LATER}, None):
        evidence = changed("smoke.capabilities", told)
        assert list(faults(evidence)) == []
        jsonschema.validate(evidence, schema)


TEXT = {"nmse": 1e-13, "mean_kld": 1e-12, "same_first_choice": 1.0, "position": None}
PROOF = {"against": "transformers", "versions": {"torch": "2.13.0"}, "mlx_lm": {"mlx-lm": "0.30.0"}, "texts": [TEXT]}


def test_a_proof_of_the_architecture_is_known_and_evidence_without_one_stays_whole() -> None:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    assert "proof" not in FULL
    unknown = {**PROOF, "texts": [dict.fromkeys(TEXT), TEXT]}
    for proof in (None, PROOF, unknown):
        evidence = {**FULL, "proof": proof}
        assert list(faults(evidence)) == []
        jsonschema.validate(evidence, schema)
    assert [fault.key for fault in faults({**FULL, "proof": {**PROOF, "texts": []}})] == ["proof.texts"]


def test_the_schema_is_that_of_this_version() -> None:
    assert get_args(Evidence.model_fields["schema_"].annotation) == (SCHEMA,)


PUBLISHED = sorted((Path(__file__).parent / "published").glob("*/*/mlx-publish.json"))


def test_evidence_is_written_back_byte_for_byte(published: Published) -> None:
    files = [*PUBLISHED, published.out / "mlx-publish.json"]
    for file in files:
        content = file.read_bytes()
        assert json_text(Evidence.read(file).plain).encode() == content
        assert json_text(Evidence.read(content).plain).encode() == content
    assert len(files) > 1


def test_keys_keep_their_order_numbers_their_form_and_what_is_absent_stays_absent() -> None:
    data = dict(reversed(changed("fidelity.mean_kld", 0).items()))
    evidence = Evidence.of(data)
    assert json_text(evidence.plain) == json_text(data)
    assert evidence.fidelity is not None
    assert json_text(evidence.fidelity.plain) == json_text(data["fidelity"])
    assert evidence.fidelity.mean_kld == 0.0
    assert (evidence.proof, evidence.untested, "proof" in evidence.plain) == (None, None, False)


def test_evidence_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Evidence.of(FULL).source.name = "another"  # type: ignore[misc]  # it is frozen


UNREADABLE: dict[str, tuple[bytes, dict[str, object]]] = {
    "no JSON": (b'{"schema":\n', {"message": "not valid JSON: Expecting value", "line": 2, "faults": ()}),
    "no object": (b"[]", {"message": "is not a JSON object", "line": 1}),
    "another version": (b'{"schema": "mlx-publish/evidence/9"}', {"schema": "mlx-publish/evidence/9", "message": ""}),
    "a key twice": (b'{"schema": "a",\n"schema": "b"}', {"line": 2}),
    "too deep": (b"[" * 200 + b"]" * 200, {"message": "is nested too deeply"}),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_the_reader_says_what_it_stumbled_over(name: str) -> None:
    content, wanted = UNREADABLE[name]
    with pytest.raises(NotEvidence) as raised:
        Evidence.read(content)
    assert {key: getattr(raised.value, key) for key in wanted} == wanted


WRONG: list[tuple[str, Any, str]] = [
    ("model.files.0.size", -1, "model.files[0].size"),
    ("model.files.0.sha256", "A" * 64, "model.files[0].sha256"),
    ("model.files", [], "model.files"),
    ("source.identity", "main", "source.identity"),
    ("source.repo", "a/b/c", "source.repo"),
    ("licence.link", 7, "licence.link"),
    ("config", {}, "config.context"),
    ("fidelity.against", {"what": "variant"}, "fidelity.against"),
    ("fidelity.mean_kld", "0.1", "fidelity.mean_kld"),
    ("fidelity.mean_kld", float("nan"), "fidelity.mean_kld"),
    ("fidelity.same_first_choice", 1.2, "fidelity.same_first_choice"),
    ("fidelity.by_kind.prose.positions", 0, "fidelity.by_kind.prose.positions"),
    ("benchmark.device", "tpu", "benchmark.device"),
    ("benchmark.lengths.1.prompt_tps.median", None, "benchmark.lengths[1].prompt_tps.median"),
    ("ladder.0.weight_bytes", 1.5, "ladder[0].weight_bytes"),
    ("ladder.0.extra", 1, "ladder[0].extra"),
    ("checks.0.status", "fine", "checks[0].status"),
    ("language", "en", "language"),
    ("smoke.capabilities.tools", None, "smoke.capabilities.tools"),
    ("smoke.capabilities.calls", "shown", "smoke.capabilities.calls"),
    ("smoke.chat_template", "yes", "smoke.chat_template"),
    ("score", 99, "score"),
]


@pytest.mark.parametrize(("path", "value", "key"), WRONG)
def test_what_is_wrong_is_named_by_its_key(path: str, value: Any, key: str) -> None:
    found = {fault.key: fault.message for fault in faults(changed(path, value))}
    assert list(found) == [key]
    assert found[key]


@pytest.mark.parametrize("key", [key for key in FULL if key != "schema"])
def test_nothing_may_be_missing(key: str) -> None:
    assert [fault.key for fault in faults({name: value for name, value in FULL.items() if name != key})] == [key]


@pytest.mark.parametrize("data", [None, [], "x", {}])
def test_what_is_no_evidence_at_all(data: object) -> None:
    assert list(faults(data))


def test_more_may_stand_within_a_measurement() -> None:
    assert not list(faults(changed("fidelity.more", 1)))
    assert not list(faults(changed("benchmark.machine.more", 1)))


def test_evidence_tells_how_bits_were_chosen_and_what_that_gained() -> None:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    planned, learned = make_planned(), make_learned()
    for evidence in (planned, learned):
        assert list(faults(evidence)) == []
        jsonschema.validate(evidence, schema)
    read = Evidence.of(planned)
    assert read.quantization is not None
    assert read.quantization.plan is not None
    assert read.quantization.plan.groups[0].least == planned["quantization"]["plan"]["groups"][0]["least"]
    assert read.fidelity is not None
    assert read.fidelity.gain is not None
    assert read.fidelity.gain.difference < 0
    broken = copy.deepcopy(planned)
    broken["quantization"]["plan"]["sha256"] = "short"
    broken["fidelity"]["gain"]["difference_error"] = -1
    assert {fault.key for fault in faults(broken)} == {
        "quantization.plan.sha256",
        "fidelity.gain.difference_error",
    }
