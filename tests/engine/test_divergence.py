"""The numbers of a comparison, computed a second time: in plain Python, from probabilities, position by position."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.fidelity import FIDELITY, FidelityFacts
from mlx_publish.engine.divergence import Positions, gathered
from mlx_publish.evidence.measured import Against, Divergence, KindDivergence
from mlx_publish.evidence.records import from_json, to_json
from mlx_publish.evidence.report import Finding, verdict_of
from mlx_publish.recipes.recipe import FidelityTest, Variant
from mlx_publish.source.bounds import rounded

Logits = NDArray[np.float32]
Passages = Sequence[tuple[str, Sequence[int]]]
CLOSE = 1e-9
ABOUT_ERRORS = ("passages", "errors_by", "error_factor")
KINDS = ("scripts", "code", "prose")


def softmax(row: Logits) -> list[float]:
    """Probabilities of one position."""
    values = [float(value) for value in row]
    top = max(values)
    weights = [math.exp(value - top) for value in values]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def error_of_mean(values: Sequence[float]) -> float:
    middle = mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1) / len(values))


def at_share(values: Sequence[float], share: float) -> float:
    """The value below which that share of all lies, on the line between its neighbours."""
    ordered, place = sorted(values), share * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def correlation(a: Sequence[float], b: Sequence[float]) -> float:
    of_a, of_b = ([value - mean(values) for value in values] for values in (a, b))
    both = math.fsum(x * y for x, y in zip(of_a, of_b, strict=True))
    return both / math.sqrt(math.fsum(x * x for x in of_a) * math.fsum(y * y for y in of_b))


def error_between(values: Sequence[float], passages: Sequence[int]) -> float:
    """How far the mean moves when each passage is left out in turn."""
    moved, start = [], 0
    for count in passages:
        moved.append(mean([*values[:start], *values[start + count :]]) - mean(values))
        start += count
    return math.sqrt(math.fsum(step * step for step in moved))


def again(
    source: Logits, model: Logits, following: Sequence[int], passages: Sequence[int] | None = None
) -> dict[str, float]:
    """All numbers of the summary; positions are independent, or those of passages of these lengths."""

    def error(values: Sequence[float]) -> float:
        return error_of_mean(values) if passages is None else error_between(values, passages)

    kld, same, of_source, of_model = [], [], [], []
    for theirs, ours, token in zip(source, model, following, strict=True):
        p, q = softmax(theirs), softmax(ours)
        kld.append(math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0))
        same.append(float(p.index(max(p)) == q.index(max(q))))
        of_source.append(math.log(p[token]))
        of_model.append(math.log(q[token]))
    lost = [a - b for a, b in zip(of_source, of_model, strict=True)]
    ratio = math.exp(mean(lost))
    changed = [math.exp(b) - math.exp(a) for a, b in zip(of_source, of_model, strict=True)]
    return {
        "positions": len(kld),
        "mean_kld": mean(kld),
        "mean_kld_error": error(kld),
        "median_kld": at_share(kld, 0.5),
        "p99_kld": at_share(kld, 0.99),
        "max_kld": max(kld),
        "same_first_choice": mean(same),
        "same_first_choice_error": error(same),
        "perplexity_source": math.exp(-mean(of_source)),
        "perplexity": math.exp(-mean(of_model)),
        "perplexity_ratio": ratio,
        "perplexity_ratio_error": ratio * error(lost),
        "p90_kld": at_share(kld, 0.9),
        "p999_kld": at_share(kld, 0.999),
        "mean_delta_p": mean(changed),
        "rms_delta_p": math.sqrt(mean([change * change for change in changed])),
        "correlation": correlation(of_source, of_model),
    }


def compare(passages: Passages, source: Iterator[Logits], model: Iterator[Logits]) -> Divergence:
    return gathered(passages, source, model).divergence()


def noisy(positions: int, vocabulary: int, noise: float = 0.5, seed: int = 0) -> tuple[Logits, Logits, list[int]]:
    """A source, a model beside it, and the tokens that come next."""
    dice = np.random.default_rng(seed)
    source = 3 * dice.standard_normal((positions, vocabulary), dtype=np.float32)
    model = source + np.float32(noise) * dice.standard_normal(source.shape, dtype=np.float32)
    return source, model, dice.integers(0, vocabulary, positions).tolist()


def summary(source: Logits, model: Logits, following: Sequence[int]) -> Divergence:
    positions = Positions()
    positions.begin("prose")
    positions.add(source, model, following)
    return positions.divergence()


def numbers(divergence: Divergence | KindDivergence) -> dict[str, Any]:
    """Return the numbers by name, without what they are of."""
    pictures = ("pictures", "pictures_fault")
    about = ("by_kind", "by_passage", "tokens_sha256", "computed_in", *pictures, *ABOUT_ERRORS)
    return {name: value for name, value in vars(divergence).items() if name not in about}


@pytest.mark.parametrize(
    ("positions", "vocabulary", "noise"),
    [
        (2, 2, 0.5),
        (3, 150_000, 0.5),
        (16, 100, 3.0),
        (17, 100, 0.05),
        (100, 64, 0.5),
        (257, 40, 1.0),
    ],
)
def test_all_numbers_agree_with_a_second_computation(positions: int, vocabulary: int, noise: float) -> None:
    given = noisy(positions, vocabulary, noise)
    assert numbers(summary(*given)) == pytest.approx(again(*given), rel=CLOSE)


def test_logits_far_from_zero_lose_nothing() -> None:
    """Models differ in where their logits lie; the numbers know only the differences between tokens."""
    source, model, following = noisy(20, 50)
    far = (source + np.float32(1024), model - np.float32(2048), following)
    assert numbers(summary(*far)) == pytest.approx(again(*far), rel=CLOSE)


def test_the_same_logits_are_exactly_the_same() -> None:
    source, _, following = noisy(40, 1000)
    values = numbers(summary(source, source.copy(), following))
    zeros = ("mean_kld", "mean_kld_error", "median_kld", "p99_kld", "max_kld", "perplexity_ratio_error")
    assert {values[key] for key in zeros} == {0.0}
    assert (values["same_first_choice"], values["perplexity_ratio"]) == (1.0, 1.0)
    assert values["perplexity"] == values["perplexity_source"]


def test_it_is_never_negative_by_rounding() -> None:
    """The same distribution by other logits: what is left of the difference is rounding, of either sign."""
    source, _, following = noisy(200, 500)
    values = numbers(summary(source, source + np.float32(0.125), following))
    assert min(values[key] for key in ("mean_kld", "median_kld", "p99_kld", "max_kld")) >= 0
    assert values["max_kld"] < 1e-12


def by_decimals(source_row: Logits, model_row: Logits) -> float:
    """The divergence of one position in 50 digits."""
    with localcontext() as context:
        context.prec = 50
        p, q = ([Decimal(float(value)).exp() for value in row] for row in (source_row, model_row))
        total_p, total_q = sum(p), sum(q)
        parts = (a / total_p * ((a / total_p).ln() - (b / total_q).ln()) for a, b in zip(p, q, strict=True))
        return float(sum(parts))


def test_a_tiny_difference_is_still_seen() -> None:
    source, model, following = noisy(12, 60, noise=5e-5)
    right = [by_decimals(source_row, model_row) for source_row, model_row in zip(source, model, strict=True)]
    assert 1e-10 < mean(right) < 1e-8
    values = numbers(summary(source, model, following))
    assert values["mean_kld"] == pytest.approx(mean(right), rel=1e-5)
    assert values["max_kld"] == pytest.approx(max(right), rel=1e-5)


def test_one_position_has_no_error() -> None:
    values = numbers(summary(*noisy(1, 10)))
    assert {values[key] for key in values if key.endswith("_error")} == {0.0}
    assert values["positions"] == 1
    assert values["mean_kld"] == values["p99_kld"] == values["max_kld"] > 0


def test_the_first_of_equals_is_the_first_choice() -> None:
    source = np.array([[1, 1, 0], [0, 1, 1], [1, 1, 1]], np.float32)
    model = np.array([[2, 0, 0], [0, 0, 5], [0, 0, 0]], np.float32)
    assert summary(source, model, [0, 1, 2]).same_first_choice == pytest.approx(2 / 3)


def cut(logits: Logits, sizes: Sequence[int]) -> Iterator[Logits]:
    start = 0
    for size in sizes:
        yield logits[start : start + size]
        start += size
    assert start == len(logits)


# Passages by kind and the sizes of their pieces; kinds come again, and in another order than anywhere else.
PASSAGES: list[tuple[str, list[int]]] = [
    ("scripts", [5]),
    ("code", [1]),
    ("prose", [16, 16, 3]),
    ("code", [7, 30, 2, 1]),
    ("scripts", [17]),
]


def in_passages() -> tuple[list[tuple[str, list[int]]], Logits, Logits, list[int]]:
    """The passages, the logits of all their positions in a row, and the token after each."""
    counts = [sum(sizes) for _, sizes in PASSAGES]
    source, model, following = noisy(sum(counts), 80, seed=3)
    starts = [sum(counts[:number]) for number in range(len(counts))]
    ids = [[7, *following[start : start + count]] for start, count in zip(starts, counts, strict=True)]
    return [(kind, passage) for (kind, _), passage in zip(PASSAGES, ids, strict=True)], source, model, following


def test_pieces_of_any_size_give_the_same_numbers() -> None:
    passages, source, model, following = in_passages()
    sizes = [size for _, part in PASSAGES for size in part]
    divergence = compare(passages, cut(source, sizes), cut(model, sizes))
    counts = [sum(part) for _, part in PASSAGES]
    assert numbers(divergence) == pytest.approx(again(source, model, following, counts), rel=CLOSE)
    assert (divergence.passages, divergence.errors_by) == (5, "passage")
    assert list(divergence.by_kind) == list(KINDS)
    kinds = [kind for kind, part in PASSAGES for _ in range(sum(part))]
    for kind, of_kind in divergence.by_kind.items():
        rows = [row for row, of in enumerate(kinds) if of == kind]
        right = again(source[rows], model[rows], [following[row] for row in rows])
        keys = ("positions", "mean_kld", "same_first_choice", "perplexity_ratio")
        assert numbers(of_kind) == pytest.approx({key: right[key] for key in keys}, rel=CLOSE)


def test_the_kinds_add_up_to_the_whole() -> None:
    passages, source, model, _ = in_passages()
    counts = [sum(sizes) for _, sizes in PASSAGES]
    whole = compare(passages, cut(source, counts), cut(model, counts))
    values, parts = numbers(whole), [numbers(part) for part in whole.by_kind.values()]
    assert sum(part["positions"] for part in parts) == values["positions"] == sum(counts)
    for key in ("mean_kld", "same_first_choice"):
        weighted = math.fsum(part[key] * part["positions"] for part in parts)
        assert weighted / values["positions"] == pytest.approx(values[key], rel=CLOSE)
    logs = math.fsum(math.log(part["perplexity_ratio"]) * part["positions"] for part in parts)
    assert math.exp(logs / values["positions"]) == pytest.approx(values["perplexity_ratio"], rel=CLOSE)


def test_each_passage_has_its_own_mean_in_the_order_of_the_text() -> None:
    passages, source, model, following = in_passages()
    counts = [sum(sizes) for _, sizes in PASSAGES]
    found, start = compare(passages, cut(source, counts), cut(model, counts)).by_passage, 0
    assert found is not None
    assert [part.positions for part in found] == counts
    for part in found:
        rows = slice(start, start + part.positions)
        right = again(source[rows], model[rows], following[rows]) if part.positions > 1 else None
        assert right is None or part.mean_kld == pytest.approx(right["mean_kld"], rel=CLOSE)
        start += part.positions


def test_few_passages_say_that_positions_count_as_independent() -> None:
    passages, source, model, following = in_passages()
    counts = [sum(sizes) for _, sizes in PASSAGES][:4]
    some = sum(counts)
    divergence = compare(passages[:4], cut(source[:some], counts), cut(model[:some], counts))
    assert numbers(divergence) == pytest.approx(again(source[:some], model[:some], following[:some]), rel=CLOSE)
    assert (divergence.passages, divergence.errors_by, divergence.by_passage) == (4, "position", None)
    assert divergence.error_factor == pytest.approx(1.99, abs=0.01)


def test_the_file_of_positions_holds_what_the_figures_are_of(tmp_path: Path) -> None:
    passages, source, model, following = in_passages()
    counts = [sum(sizes) for _, sizes in PASSAGES]
    gathered(passages, cut(source, counts), cut(model, counts)).save(tmp_path / "new/positions.npz")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["positions.npz"]
    of = np.load(tmp_path / "new/positions.npz", allow_pickle=False)
    right = again(source, model, following)
    assert of["token"].tolist() == following
    assert of["passage"].tolist() == [number for number, count in enumerate(counts) for _ in range(count)]
    assert of["position"].tolist() == [place for count in counts for place in range(count)]
    assert of["kind"].tolist() == [
        kind for (kind, _), count in zip(PASSAGES, counts, strict=True) for _ in range(count)
    ]
    assert of["kld"].mean() == pytest.approx(right["mean_kld"], rel=CLOSE)
    assert of["same"].mean() == pytest.approx(right["same_first_choice"], rel=CLOSE)
    assert np.exp(-of["source"].mean()) == pytest.approx(right["perplexity_source"], rel=CLOSE)
    assert np.exp(-of["model"].mean()) == pytest.approx(right["perplexity"], rel=CLOSE)


def test_a_passage_that_is_all_in_an_earlier_one_counts_for_nothing() -> None:
    ids = [3, 1, 4, 1, 5, 9, 2, 6]
    passages = [("prose", ids), ("dialogue", ids[:4]), ("prose", [2, 7, 1, 8]), ("code", [1, 4, 1, 4])]
    source, model, _ = noisy(3 + 7 + 3 + 3, 10)
    found = compare(passages, cut(source, [7, 3, 3, 3]), cut(model, [7, 3, 3, 3]))
    assert (found.passages, found.positions) == (3, 13)
    assert set(found.by_kind) == {"prose", "code"}
    many = [("prose", [number, *ids]) for number in range(6)]
    source, model, _ = noisy(6 * 8 + 3, 10)
    whole = compare([*many, ("prose", many[0][1][:4])], cut(source, [8] * 6 + [3]), cut(model, [8] * 6 + [3]))
    alone = compare(many, cut(source[:48], [8] * 6), cut(model[:48], [8] * 6))
    assert whole == alone
    assert [part.positions for part in whole.by_passage or ()] == [8] * 6


def at(row: int, column: int | slice, value: float) -> Callable[[Logits], None]:
    def change(logits: Logits) -> None:
        logits[row, column] = value

    return change


def nothing(_: Logits) -> None:
    pass


ALL = slice(None)
# What is done to the source and to the model. Token 3 is never the one that comes next.
BROKEN: dict[str, tuple[Callable[[Logits], None], Callable[[Logits], None]]] = {
    "one NaN in the model": (nothing, at(5, 3, math.nan)),
    "NaN in a whole position": (nothing, at(5, ALL, math.nan)),
    "one infinity in the model": (nothing, at(5, 3, math.inf)),
    "minus infinity in the model alone": (nothing, at(5, 3, -math.inf)),
    "minus infinity in a whole position": (nothing, at(5, ALL, -math.inf)),
    "one NaN in the source": (at(5, 3, math.nan), nothing),
    "one infinity in the source": (at(5, 3, math.inf), nothing),
    "minus infinity in the source alone": (at(5, 3, -math.inf), nothing),
    "minus infinity in both": (at(5, 3, -math.inf), at(5, 3, -math.inf)),
    "NaN in both": (at(5, ALL, math.nan), at(5, ALL, math.nan)),
    "the last position": (nothing, at(-1, 3, math.nan)),
}


def reported(divergence: Divergence) -> Divergence:
    """Return it as the stage reports it."""
    return from_json(Divergence, rounded(to_json(divergence)))


def findings(divergence: Divergence) -> dict[str, Finding]:
    """Judge it with everything accepted that can be."""
    facts = FidelityFacts(reported(divergence), Against("source"), FidelityTest(), Variant())
    results = run_checks(FIDELITY, facts, lambda _: "all of it is meant so")
    assert verdict_of(results) == "refused"
    return {finding.id: finding for finding in results}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_number_becomes_none_and_is_refused(case: str) -> None:
    source, model, _ = noisy(20, 50)
    following = [4] * 20
    for change, logits in zip(BROKEN[case], (source, model), strict=True):
        change(logits)
    with np.errstate(all="ignore"):
        divergence = compare([("code", [0, *following])], cut(source, [20]), cut(model, [20]))
    assert reported(divergence).mean_kld is None
    assert reported(divergence).by_kind["code"].mean_kld is None
    by_id = findings(divergence)
    assert by_id["finite"].status == "fail"
    assert "mean_kld" in by_id["finite"].message
    assert by_id["mean-kld"].status == "skip"


def test_a_perplexity_without_room_is_refused_and_no_crash() -> None:
    """Both are sure of the wrong token, beyond what a float can tell, and they agree."""
    source = np.zeros((4, 10), np.float32)
    source[:, 0] = 2000
    divergence = summary(source, source.copy(), [1, 2, 3, 4])
    assert divergence.perplexity == divergence.perplexity_source == math.inf
    by_id = findings(divergence)
    assert by_id["finite"].message == "not a number: perplexity, perplexity_source"
    assert (by_id["finite"].status, by_id["mean-kld"].status) == ("fail", "pass")
