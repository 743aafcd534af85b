"""`compare`: two variants or two runs, number by number, and never two numbers that say nothing about each other."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import User
from samples import make_evidence
from samples_of_plans import GAIN
from samples_that_see import make_seeing

Change = Callable[[dict[str, Any]], object]


def written(user: User, name: str, *changes: Change) -> Path:
    """Write evidence with changes beside the user."""
    data = copy.deepcopy(make_evidence())
    for change in changes:
        change(data)
    path = user.home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def compared(user: User, *changes: Change) -> dict[str, Any]:
    """Compare the sample with a changed one, as JSON."""
    written(user, "a.json")
    written(user, "b.json", *changes)
    content: dict[str, Any] = json.loads(user.run("compare", "a.json", "b.json", "--json").out)
    return content


def row(data: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the row whose name begins so."""
    return next(one for one in data["rows"] if one["name"].startswith(name))


def test_the_same_evidence_differs_in_nothing(user: User) -> None:
    data = compared(user)
    assert data["checks"] == data["answers"] == []
    assert row(data, "mean KLD")["b_to_a"] == "within error"
    assert row(data, "weights")["b_to_a"] == "1.00x"
    assert "checks and answers are the same" in user.run("compare", "a.json", "b.json").text


def test_pictures_are_compared_where_both_were_shown_the_same(user: User) -> None:
    def sees(data: dict[str, Any]) -> None:
        data["fidelity"]["pictures"] = make_seeing()["fidelity"]["pictures"]

    def sees_others(data: dict[str, Any]) -> None:
        sees(data)
        data["fidelity"]["pictures"] |= {"inputs_sha256": "c" * 64, "mean_kld": 0.1}

    written(user, "a.json", sees)
    written(user, "b.json", sees)
    data = json.loads(user.run("compare", "a.json", "b.json", "--json").out)
    assert row(data, "mean KLD with pictures")["b_to_a"] == "+0"
    written(user, "b.json", sees_others)
    data = json.loads(user.run("compare", "a.json", "b.json", "--json").out)
    assert row(data, "mean KLD with pictures")["why"] == "other pictures"
    assert not [one for one in compared(user)["rows"] if "pictures" in one["name"]]


def test_size_fidelity_speed_and_words_stand_side_by_side(user: User) -> None:
    def wider(data: dict[str, Any]) -> None:
        data["model"]["weight_bytes"] *= 2
        data["fidelity"]["mean_kld"] = 0.5

    data = compared(user, wider)
    assert row(data, "weights")["b_to_a"] == "2.00x"
    assert row(data, "closeness")["b"] == "heavily lossy"
    assert "±" in row(data, "mean KLD")["a"]
    for name in ("bits per weight", "top-1 agreement", "perplexity ratio", "generation, tok/s", "peak memory"):
        assert row(data, name)["a"] != "-"
    assert row(data, "measured on")["a"]


def another_text(data: dict[str, Any]) -> None:
    data["fidelity"]["tokens_sha256"] = "0" * 64


def another_commit(data: dict[str, Any]) -> None:
    data["source"]["identity"] = "f" * 40


def another_reference(data: dict[str, Any]) -> None:
    data["fidelity"]["against"] = {"what": "variant", "label": "bf16", "bits_per_weight": 16.0}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (another_text, "another text"),
        (another_commit, "another commit of the source"),
        (another_reference, "another reference"),
    ],
)
def test_distances_of_other_texts_sources_and_references_are_not_compared(user: User, change: Change, why: str) -> None:
    data = compared(user, change)
    for name in ("mean KLD", "top-1 agreement", "perplexity ratio"):
        assert (row(data, name)["why"], row(data, name)["b_to_a"]) == (why, "")
    assert row(data, "weights")["b_to_a"] == "1.00x"
    assert (
        f"not comparable ({why}): mean KLD, top-1 agreement, perplexity ratio"
        in user.run("compare", "a.json", "b.json").text
    )


def with_passages(*klds: float) -> Change:
    """The figures of this version, with passages of 100 positions each."""
    parts = [{"positions": 100, "mean_kld": kld} for kld in klds]
    mean = sum(klds) / len(klds)

    def change(data: dict[str, Any]) -> None:
        data["fidelity"] |= {
            "positions": 100 * len(klds), "mean_kld": mean, "mean_kld_error": 0.02, "rms_delta_p": 0.05,
            "passages": len(klds), "errors_by": "passage", "error_factor": 2.0, "by_passage": parts,
        }  # fmt: skip

    return change


A, NEXT_TO_A = (0.1, 0.2, 0.3, 0.15, 0.25, 0.2), (0.102, 0.199, 0.303, 0.149, 0.252, 0.198)


def test_a_difference_is_judged_passage_by_passage_where_both_read_the_same(user: User) -> None:
    written(user, "a.json", with_passages(*A))
    for b, said in ((NEXT_TO_A, "within error"), ([kld + 0.01 for kld in NEXT_TO_A], "+0.0105")):
        written(user, "b.json", with_passages(*b))
        data = json.loads(user.run("compare", "a.json", "b.json", "--json").out)
        assert row(data, "mean KLD")["b_to_a"] == said
        # The same by hand: six passages of one length, the jackknife of their differences, t of 5.
        steps = [second - first for first, second in zip(A, b, strict=True)]
        middle = sum(steps) / 6
        error = math.sqrt(sum((step - middle) ** 2 for step in steps)) / 5
        assert data["noise"] == {"mean_kld": pytest.approx(2.5706 * error, rel=1e-4), "paired": True}
        assert row(data, "RMS Δp")["b_to_a"] == "+0.0 points"
    text = user.run("compare", "a.json", "b.json").text
    assert "mean KLD: differences below 0.0024 are inside the noise of this text, passage by passage" in text


def test_without_passages_both_errors_add_up(user: User) -> None:
    def alone(data: dict[str, Any]) -> None:
        with_passages(*A)(data)
        del data["fidelity"]["by_passage"]

    written(user, "a.json", alone)
    written(user, "b.json", alone)
    data = json.loads(user.run("compare", "a.json", "b.json", "--json").out)
    assert data["noise"] == {"mean_kld": pytest.approx(2 * 0.02 * math.sqrt(2)), "paired": False}


def test_evidence_of_earlier_versions_tells_no_noise(user: User) -> None:
    assert compared(user)["noise"] is None


def another_chip(data: dict[str, Any]) -> None:
    data["benchmark"]["machine"]["chip"] = "Apple M9"


def another_version(data: dict[str, Any]) -> None:
    data["tools"]["mlx"] = "0.0.1"


def cuda(data: dict[str, Any]) -> None:
    data["benchmark"] |= {"backend": "cuda", "gpu": "NVIDIA H100 80GB HBM3"}


def another_driver(data: dict[str, Any]) -> None:
    data["benchmark"]["machine"]["gpu_driver"] = "580.65.06"


def more_of_the_gpu(data: dict[str, Any]) -> None:
    data["benchmark"]["machine"]["gpu_memory_bytes"] = 80 << 30


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (another_chip, "another machine"),
        (cuda, "another machine"),
        (more_of_the_gpu, "another machine of the same chip"),
        (another_driver, "another driver of the GPU"),
        (another_version, "another mlx"),
    ],
)
def test_speeds_of_other_machines_and_versions_are_not_compared(user: User, change: Change, why: str) -> None:
    data = compared(user, change)
    assert (row(data, "generation, tok/s")["why"], row(data, "generation, tok/s")["b_to_a"]) == (why, "")
    assert row(data, "mean KLD")["why"] == ""


def test_an_nvidia_gpu_is_the_chip_that_it_was_measured_on(user: User) -> None:
    assert row(compared(user, cuda), "measured on")["a"].endswith("(GPU)")
    assert row(compared(user, cuda), "measured on")["b"] == "NVIDIA H100 80GB HBM3 (CUDA)"


def test_checks_and_answers_that_differ_are_named(user: User) -> None:
    def other(data: dict[str, Any]) -> None:
        data["checks"][0]["status"] = "warn"
        data["smoke"]["exchange"]["answer"] = "Another one.\x1b[31m"

    data = compared(user, other)
    assert [check["b"] for check in data["checks"]] == ["warn"]
    assert data["answers"][0]["name"] == "example"
    ended = user.run("compare", "a.json", "b.json")
    assert "another answer to example" in ended.text
    assert "\x1b" not in ended.out


def test_variants_of_a_work_folder_are_named_by_their_label(user: User) -> None:
    for label in ("4bit", "8bit"):
        written(user, f"work/tiny/{label}/evidence.json")
        written(user, f"work/tiny/{label}/inspect.json")
    assert "checks and answers are the same" in user.run("compare", "4bit", "8bit", "--recipe", "tiny").text
    assert "checks and answers are the same" in user.run("compare", "4bit", "work/tiny/8bit").text
    text = user.run("compare", "4bit", "8bits", "--recipe", "tiny", code=2).text
    assert "did you mean 8bit? next: Variants there: 4bit, 8bit." in text
    assert "Recipes here: tiny" in user.run("compare", "4bit", "8bit", "--recipe", "tny", code=2).text
    (user.home / "work/tiny/8bit/evidence.json").unlink()
    assert (
        "no evidence for 8bit: it was refused, or"
        in user.run("compare", "4bit", "8bit", "--recipe", "tiny", code=2).text
    )


def test_what_is_no_evidence_is_named_by_its_file(user: User) -> None:
    written(user, "a.json")
    (user.home / "b.json").write_text("{}")
    text = user.run("compare", "a.json", "b.json", code=2).text
    assert "b.json: is not evidence that this version reads" in text
    assert "is neither a variant in work nor a file" in user.run("compare", "a.json", "c", code=2).text


def test_a_narrow_terminal_loses_the_change_and_no_number(user: User) -> None:
    written(user, "a.json")
    written(user, "b.json")
    wide = user.run("compare", "a.json", "b.json").out
    user.more["COLUMNS"] = "60"
    out = user.run("compare", "a.json", "b.json").out
    numbers = next(line for line in wide.splitlines() if "mean KLD" in line).split()[2:8]
    narrow = next(line for line in out.splitlines() if "mean KLD" in line)
    assert all(number in narrow for number in numbers[:6])


def test_a_gain_over_plain_rounding_stands_on_its_side_and_only_where_there_is_one(user: User) -> None:
    def planned(data: dict[str, Any]) -> None:
        data["fidelity"]["gain"] = GAIN

    found = row(compared(user, planned), "over plain rounding")
    assert (found["a"], found["b"], found["b_to_a"]) == ("-", "-51 % KLD", "")
    assert "over plain rounding" not in [one["name"] for one in compared(user)["rows"]]
