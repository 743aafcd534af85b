"""The card's section on how bits were chosen or learned, whatever its words are."""

from __future__ import annotations

from typing import Any

import pytest
from markdown_it import MarkdownIt

from hostile import HOSTILE
from mlx_publish.card.render import render_card
from mlx_publish.evidence.evidence import Evidence
from samples_of_plans import GAIN, group, make_learned, make_planned


def card_of(difference: float, error: float) -> str:
    """The section about quantization of a card with such a gain."""
    data = make_planned()
    rounding = 0.04553
    gain = {**GAIN, "difference": difference, "difference_error": error, "mean_kld": rounding + difference}
    data["fidelity"] = {**data["fidelity"], "gain": gain}
    return render_card("x", "acme/x", "", Evidence.of(data))


def test_the_card_tells_a_gain_inside_the_noise_and_a_loss_that_was_accepted() -> None:
    clear, unclear, loss = card_of(-0.02, 0.002), card_of(-0.002, 0.002), card_of(0.02, 0.002)
    assert "The two differ by 0.020 ± 0.0041 nats (95 % interval), compared position by position." in clear
    assert "which is inside the noise of the text" in unclear
    assert "44 % more KLD than plain rounding at equal bytes" in loss
    unproven = make_planned()
    unproven["fidelity"] = {key: value for key, value in unproven["fidelity"].items() if key != "gain"}
    text = render_card("x", "acme/x", "", Evidence.of(unproven))
    assert "It was **not compared** with plain rounding at equal bytes." in text


def test_the_true_width_is_named_where_a_method_cannot_do_some_modules() -> None:
    data = make_learned()
    assert "\n4-bit AWQ [MLX]" in render_card("x", "acme/x", "", Evidence.of(data))
    data["model"] = {**data["model"], "bits_per_weight": 5.43}
    assert "\n5.4-bit AWQ [MLX]" in render_card("x", "acme/x", "", Evidence.of(data))


def test_a_cascade_shows_method_and_plan_and_a_proxy_is_named() -> None:
    data = make_planned()
    plan = {**data["quantization"]["plan"], "proxy": "8bit", "rounding": "nearest"}
    data["quantization"] = {**data["quantization"], "method": "dwq on plan", "deterministic": False, "plan": plan}
    text = render_card("x", "acme/x", "", Evidence.of(data))
    assert "4.5-bit planned DWQ [MLX]" in text
    assert "**Method.** DWQ, by mlx-lm, on the plan below." in text
    assert "its 8bit form was measured in its place" in text
    assert "Scales are those of MLX's own quantizer." in text
    assert "| MLP | 90 |" in text
    assert "gives the same bytes on x86-64 and arm64" not in text


def laden(word: str) -> dict[str, Any]:
    """Foreign words in every place of the section."""
    data = make_learned()
    plan = {**make_planned()["quantization"]["plan"], "target": word, "proxy": word}
    plan["groups"] = [group(word, 1, 2, 3.0, (word, word), 0.1)]
    data["quantization"] = {
        **data["quantization"],
        "method": f"{word} on plan",
        "plan": plan,
        "settings": {word: word},
        "calibration": {**data["quantization"]["calibration"], "text": word},
    }
    curve = [{**point, "label": word} for point in data["fidelity"]["gain"]["curve"]]
    data["fidelity"] = {**data["fidelity"], "gain": {**data["fidelity"]["gain"], "curve": curve}}
    return data


@pytest.mark.parametrize("word", HOSTILE)
def test_no_words_of_others_change_the_structure(word: str) -> None:
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    text, clean = (reader.parse(render_card("x", "acme/x", "", Evidence.of(laden(of)))) for of in (word, "x"))
    assert [token.type for token in text] == [token.type for token in clean]
    kinds = [{child.type for token in of for child in token.children or []} for of in (text, clean)]
    assert kinds[0] - {"text_special", "softbreak"} == kinds[1] - {"text_special", "softbreak"}
