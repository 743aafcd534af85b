"""Bits are given to the modules that need them: as well as by trying all, never above the budget, floors kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_publish.evidence.sensitivities import ModuleSensitivity, RungCost, rung_of
from mlx_publish.model.allocation import Allocation, OutOfReach, fits_into, widest, within
from sensitivities import made_up, module


def all_of(modules: Sequence[ModuleSensitivity]) -> list[tuple[int, float]]:
    """Bytes and divergence of every allocation within the floors."""
    own = [list(_allowed(m)) for m in modules]
    return [(sum(c.bytes for c in picked), sum(c.kld for c in picked)) for picked in itertools.product(*own)]


def _allowed(of: ModuleSensitivity) -> Iterator[RungCost]:
    return (cost for key, cost in of.rungs.items() if rung_of(key)[0] >= of.floor)


def drawn(seed: int, modules: int = 4) -> list[ModuleSensitivity]:
    """Modules of any sizes and divergences, not even falling ones."""
    dice = np.random.default_rng(seed)
    keys = ["2/64", "3/64", "4/64", "4/32", "6/64", "16/0"]
    return [
        ModuleSensitivity(
            f"model.layers.{index}.mlp.up_proj",
            "mlp",
            1000,
            int(dice.choice((2, 2, 4))),
            {key: RungCost(int(dice.integers(1, 60)), float(dice.choice((0.0, dice.random())))) for key in keys},
        )
        for index in range(modules)
    ]


@pytest.mark.parametrize("seed", range(60))
def test_it_is_as_good_as_the_best_of_all_allocations(seed: int) -> None:
    modules = drawn(seed)
    every = all_of(modules)
    least = min(size for size, _ in every)
    for budget in range(least, max(size for size, _ in every) + 2, 7):
        got = fits_into(modules, budget)
        best = min(kld for size, kld in every if size <= budget)
        assert got.bytes <= budget
        assert got.kld == pytest.approx(best, abs=1e-12)
    with pytest.raises(OutOfReach) as error:
        fits_into(modules, least - 1)
    assert error.value.least == least


@pytest.mark.parametrize("seed", range(60))
def test_of_those_that_are_close_enough_it_is_the_smallest(seed: int) -> None:
    modules = drawn(seed)
    every = all_of(modules)
    for limit in (0.0, 0.1, 0.5, 1.0, 2.0, 9.0):
        small = [size for size, kld in every if kld <= limit]
        if not small:
            with pytest.raises(OutOfReach) as error:
                within(modules, limit)
            assert error.value.least == pytest.approx(min(kld for _, kld in every))
            continue
        got = within(modules, limit)
        assert got.kld <= limit
        assert got.bytes == min(small)


def test_every_target_of_a_whole_model_is_hit_from_below() -> None:
    sensitivities = made_up(layers=12, hidden=576, wide=1536, vocab=49152)
    whole = sum(m.weights for m in sensitivities.modules)
    for tenth in range(36, 100, 3):
        budget = whole * tenth // 80
        got = fits_into(sensitivities.modules, budget)
        assert 0.995 * budget <= got.bytes <= budget, tenth


def test_sizes_that_share_no_unit_are_hit_as_well() -> None:
    modules = [module(f"model.layers.{n}.mlp.up_proj", 64 * (10007 + 13 * n * n), 1.0 + n % 5) for n in range(60)]
    whole = sum(m.weights for m in modules)
    for bits in (2.5, 3.7, 4.6, 6.1):
        budget = int(whole * bits / 8)
        got = fits_into(modules, budget)
        assert 0.995 * budget <= got.bytes <= budget


def test_floors_are_kept_and_what_matters_more_gets_more() -> None:
    router = module("model.layers.0.mlp.gate", 64 * 64, 0.01, floor=8, kind="router")
    loud, quiet = module("model.layers.0.mlp.up_proj", 64 * 6400, 50.0), module("model.layers.1.mlp.up_proj", 409600, 1)
    got = fits_into([router, loud, quiet], 409600)
    bits = {path: rung_of(rung)[0] for path, rung in got.rungs.items()}
    assert bits[router.path] >= 8
    assert bits[loud.path] > bits[quiet.path]


def test_a_model_that_is_smaller_than_the_budget_stays_as_it_is_or_has_the_widest_rungs() -> None:
    modules = [*made_up(layers=2).modules, ModuleSensitivity("odd", "other", 99, 2, {"16/0": RungCost(198, 0.0)})]
    got = fits_into(modules, 1 << 40)
    assert set(got.rungs.values()) == {"16/0"}
    assert got.kld == 0
    rungs = dict(widest(modules).rungs)
    assert rungs.pop("odd") == "16/0"
    assert set(rungs.values()) == {"8/32"}


def test_a_rung_that_gives_no_number_is_no_choice() -> None:
    rungs = {"2/64": RungCost(10, float("nan")), "4/64": RungCost(20, float("inf")), "6/64": RungCost(30, 0.1)}
    got = fits_into([ModuleSensitivity("a", "mlp", 64, 2, rungs)], 100)
    assert dict(got.rungs) == {"a": "6/64"}


@given(st.integers(0, 1 << 30), st.lists(st.integers(10, 400), min_size=2, max_size=8))
@settings(max_examples=60, deadline=None)
def test_more_bytes_never_predict_more_divergence(seed: int, budgets: list[int]) -> None:
    modules = drawn(seed, 6)
    results: list[Allocation] = []
    for budget in sorted(budgets):
        try:
            results.append(fits_into(modules, budget))
        except OutOfReach:
            assert not results
    assert all(before.kld >= after.kld for before, after in itertools.pairwise(results))


@given(st.integers(0, 1 << 30))
@settings(max_examples=30, deadline=None)
def test_the_same_question_has_the_same_answer(seed: int) -> None:
    modules = drawn(seed, 6)
    budget = sum(min(c.bytes for c in m.rungs.values()) for m in modules) + 100
    assert fits_into(modules, budget) == fits_into(modules, budget)
    alike = [ModuleSensitivity(f"layer.{n}", "mlp", 100, 2, modules[0].rungs) for n in range(4)]
    first = fits_into(alike, 4 * min(c.bytes for c in modules[0].rungs.values()) + 40)
    assert list(first.rungs) == [m.path for m in alike]
