"""The card's tables of numbers."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_publish.card.tables import by_kind, percentiles, siblings, speeds, table
from mlx_publish.card.words import errors
from mlx_publish.evidence.evidence import Rung
from mlx_publish.evidence.measurements import FidelitySpec, SpeedSpec
from samples import make_evidence, rung

FULL = make_evidence()
FIDELITY, SPEED = FidelitySpec.model_validate(FULL["fidelity"]), SpeedSpec.model_validate(FULL["benchmark"])


def rungs(*ladder: dict[str, Any]) -> list[Rung]:
    return [Rung.model_validate(one) for one in ladder]


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines()]


def test_a_column_of_nothing_is_not_there_and_a_hole_is_a_dash() -> None:
    columns = [("A", lambda row: row["a"]), ("B", lambda row: row["b"]), ("C", lambda row: row["c"])]
    found = table(columns, [{"a": "x", "b": None, "c": "1"}, {"a": "y|z", "b": None, "c": None}])
    assert found.splitlines() == ["| A | C |", "| --- | ---: |", "| x | 1 |", "| y\\|z | - |"]


def test_siblings_say_what_they_were_measured_on_where_that_differs() -> None:
    ladder = [rung("4bit", 10**8, 4.5, 0.1), rung("8bit", 2 * 10**8, 8.5, 0.01)]
    assert [row[-1] for row in rows(siblings(rungs(*ladder), "4bit"))] == ["Tokens/s", "---:", "96.2", "96.2"]
    ladder[1]["device"] = "cpu"
    assert [row[-1] for row in rows(siblings(rungs(*ladder), "4bit"))][2:] == ["96.2 (GPU)", "96.2 (CPU)"]
    ladder[1] |= {"device": "gpu", "backend": "cuda", "chip": "NVIDIA H100 80GB HBM3"}
    assert [row[-1] for row in rows(siblings(rungs(*ladder), "4bit"))][2:] == ["96.2 (GPU)", "96.2 (CUDA)"]
    assert rows(siblings(rungs(*ladder), "4bit"))[2][0] == "**4bit** (recommended, you are here)"
    assert rows(siblings(rungs(*ladder), "4bit"))[3][0] == "[8bit](https://huggingface.co/acme/Tiny-8bit)"


def test_a_sibling_without_a_repo_has_no_link() -> None:
    assert "](" not in siblings(rungs(rung("4bit", 1, 4.5, 0.1) | {"repo": None}), "8bit")


def changed(**numbers: Any) -> list[str]:
    return rows(by_kind(FidelitySpec.model_validate(FULL["fidelity"] | numbers)))[-1]


def test_errors_have_two_digits_and_the_number_as_many() -> None:
    assert changed() == ["All", "1,021", "0.0451 ± 0.0031", "91.02 ± 0.89 %", "1.0450 ± 0.0051"]
    assert changed(mean_kld=2.34567, mean_kld_error=0.1234)[2] == "2.35 ± 0.12"
    assert changed(same_first_choice=0.5, same_first_choice_error=0.123)[3] == "50 ± 12 %"
    assert changed(mean_kld=0.0, mean_kld_error=0.0)[2] == "0"


def test_percentiles_are_those_of_llama_cpp_and_delta_p_is_in_percent() -> None:
    figures = {"passages": 23, "p90_kld": 0.0912, "p999_kld": 0.81234, "mean_delta_p": -0.00314, "rms_delta_p": 0.0412}
    found = rows(percentiles(FidelitySpec.model_validate(FULL["fidelity"] | figures | {"correlation": 0.99312})))
    assert found[0][1:6] == ["Median KLD", "90 %", "99 %", "99.9 %", "Maximum"]
    assert found[2] == ["23", "0.0312", "0.0912", "0.412", "0.812", "1.20", "−0.31 %", "4.12 %", "99.31 %"]  # noqa: RUF001


def test_the_text_says_its_noise_its_interval_and_what_errors_mean() -> None:
    known = {"passages": 23, "errors_by": "passage", "error_factor": 2.0}
    assert errors(FidelitySpec.model_validate(FULL["fidelity"] | known)) == (
        "± is one standard error, clustered by passage. The 95 % interval of the mean KLD is 0.0393 to 0.0518; "
        "differences below 0.0062 are inside the noise of this text."
    )
    few = known | {"passages": 4, "errors_by": "position"}
    assert "with positions as independent, because the text has fewer than 5 passages. " in errors(
        FidelitySpec.model_validate(FULL["fidelity"] | few)
    )
    assert errors(FIDELITY) == ""
    same = errors(FidelitySpec.model_validate(FULL["fidelity"] | known | {"mean_kld": 0.0, "mean_kld_error": 0.0}))
    assert same.endswith("The 95 % interval of the mean KLD is 0 to 0.")


def test_kinds_have_names_that_people_know() -> None:
    assert [row[0] for row in rows(by_kind(FIDELITY))[2:]] == [
        "Prose",
        "Code",
        "Dialogue",
        "Other languages",
        "All",
    ]


def test_speeds_name_prompt_trials_and_range() -> None:
    found = rows(speeds(SPEED))
    assert found[0][0] == "Prompt"
    assert found[2][0] == "128 tokens"
    assert found[2][-1] == "5 of 128 tokens"
    assert found[3][2] == "96.2 (94.3 to 98.1)"


@pytest.mark.parametrize("name", ["siblings", "by_kind", "speeds"])
def test_every_row_has_all_cells(name: str) -> None:
    made = {
        "siblings": siblings(rungs(*FULL["ladder"]), "4bit"),
        "by_kind": by_kind(FIDELITY),
        "speeds": speeds(SPEED),
    }
    assert len({len(row) for row in rows(made[name])}) == 1
