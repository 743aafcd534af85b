"""What a card says of kept multi-token heads."""

from __future__ import annotations

from typing import Any

from mlx_publish.card.drafter import drafter
from samples import make_evidence, record

MADE: dict[str, Any] = {
    "folder": "mtp",
    "model_type": "qwen3_5_mtp",
    "block_size": 3,
    "bits": None,
    "group_size": None,
    "tensors": 15,
    "weight_bytes": 1_500_000,
    "parameters": 750_000,
}
PROOF: dict[str, Any] = {
    "prompts": 6,
    "tokens": 300,
    "rounds": 150,
    "drafted": 300,
    "accepted": 150,
    "block_size": 3,
    "computed_in": "float32",
    "device": "gpu",
    "differences": [],
    "seconds": 2.0,
    "plain_seconds": 3.0,
    "versions": {"mlx-vlm": "0.7.10"},
}


def said(parts: str = "shown", **changes: object) -> dict[str, str]:
    smoke = make_evidence()["smoke"]
    smoke["capabilities"]["parts"] = parts
    found = drafter(record(drafter={**MADE, **changes}, smoke=smoke))
    assert found is not None
    return dict(found)


def test_a_card_without_a_drafter_says_nothing_of_one() -> None:
    assert drafter(record()) is None


def test_the_command_line_downloads_the_model_and_names_both_folders() -> None:
    words = said(proof=PROOF)
    repo = record().destination.repo
    assert repo is not None
    name = repo.rpartition("/")[2]
    assert f"hf download {repo} --local-dir {name}" in words["command"]
    assert f"--draft-model {name}/mtp" in words["command"]
    assert words["snippet"] == ""
    assert "accepted 150 of 300 drafted tokens (50%); a round gave 2.00 tokens" in words["words"]
    assert "took 1.50 times as long" in words["words"]


def test_on_a_cpu_no_speed_is_told_and_untested_is_said() -> None:
    assert "times as long" not in said(proof={**PROOF, "device": "cpu"})["words"]
    assert said(bits=8, group_size=32)["words"].endswith("It was not tested.")
    assert "8 bits, groups of 32" in said(bits=8, group_size=32)["words"]


def test_a_template_that_takes_no_parts_gets_python() -> None:
    words = said("refused", proof=PROOF)
    assert "mlx_vlm.generate" not in words["command"]
    assert "load_drafter(" in words["snippet"]
    compile(words["snippet"], "snippet", "exec")
