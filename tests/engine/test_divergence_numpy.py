"""The table of llama.cpp a second time: numpy over whole arrays, by another way than the engine's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import mlx_lm  # noqa: TID251 -- the logits of both models are read here
import numpy as np
import pytest
from numpy.typing import NDArray

from mlx_publish.engine.divergence import gathered
from mlx_publish.engine.fidelity import compare
from mlx_publish.engine.loading import load_model
from mlx_publish.engine.logits_store import as_arrays, logits_of, read_logits, write_store
from mlx_publish.engine.passages import Passage
from mlx_publish.evidence.measured import Divergence
from models import make_model

Floats = NDArray[np.float64]
LENGTHS = (60, 17, 33, 9, 120, 41, 28)


def log_softmax(logits: NDArray[np.float32]) -> Floats:
    of = logits.astype(np.float64)
    top = of.max(axis=1, keepdims=True)
    found: Floats = of - top - np.log(np.exp(of - top).sum(axis=1, keepdims=True))
    return found


def left_out(values: Floats, lengths: Sequence[int]) -> float:
    """The jackknife, each passage's positions deleted in turn."""
    owner = np.repeat(np.arange(len(lengths)), lengths)
    without = np.array([values[owner != passage].mean() for passage in range(len(lengths))])
    return float(np.sqrt(((without - values.mean()) ** 2).sum()))


def table(
    source: NDArray[np.float32], model: NDArray[np.float32], following: Sequence[int], lengths: Sequence[int]
) -> dict[str, float]:
    """All figures of the table, from whole arrays (positions, vocabulary)."""
    log_p, log_q, rows = log_softmax(source), log_softmax(model), np.arange(len(following))
    kld = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    of_source, of_model = log_p[rows, following], log_q[rows, following]
    same = (source.argmax(axis=1) == model.argmax(axis=1)).astype(np.float64)
    delta = np.exp(of_model) - np.exp(of_source)
    ratio = np.exp(-of_model.mean()) / np.exp(-of_source.mean())
    return {
        "positions": len(kld),
        "mean_kld": kld.mean(),
        "mean_kld_error": left_out(kld, lengths),
        "median_kld": np.median(kld),
        "p90_kld": np.quantile(kld, 0.9),
        "p99_kld": np.quantile(kld, 0.99),
        "p999_kld": np.quantile(kld, 0.999),
        "max_kld": kld.max(),
        "same_first_choice": same.mean(),
        "same_first_choice_error": left_out(same, lengths),
        "perplexity_source": np.exp(-of_source.mean()),
        "perplexity": np.exp(-of_model.mean()),
        "perplexity_ratio": ratio,
        "perplexity_ratio_error": ratio * left_out(of_model - of_source, lengths),
        "mean_delta_p": delta.mean(),
        "rms_delta_p": np.sqrt((delta**2).mean()),
        "correlation": np.corrcoef(of_source, of_model)[0, 1],
        "passages": len(lengths),
    }


def in_pieces(logits: NDArray[np.float32], lengths: Sequence[int]) -> Iterator[NDArray[np.float32]]:
    yield from np.split(logits, np.cumsum(lengths)[:-1])


def agrees(divergence: Divergence, right: dict[str, float]) -> None:
    assert {name: getattr(divergence, name) for name in right} == pytest.approx(right, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("noise", [0.01, 0.3, 2.0])
@pytest.mark.parametrize("vocabulary", [50, 5000])
def test_the_figures_of_random_logits_equal_those_of_numpy(noise: float, vocabulary: int) -> None:
    dice, total = np.random.default_rng(5), sum(LENGTHS)
    source = 3 * dice.standard_normal((total, vocabulary), dtype=np.float32)
    model = source + np.float32(noise) * dice.standard_normal(source.shape, dtype=np.float32)
    following = dice.integers(0, vocabulary, total).tolist()
    starts = np.cumsum([0, *LENGTHS])
    passages = [("prose", [1, *following[start:end]]) for start, end in pairwise(starts)]
    found = gathered(passages, in_pieces(source, LENGTHS), in_pieces(model, LENGTHS)).divergence()
    agrees(found, table(source, model, following, LENGTHS))


def test_the_figures_of_a_model_equal_those_of_numpy(tmp_path: Path) -> None:
    dice = np.random.default_rng(9)
    source, made = make_model(tmp_path / "a", seed=1), make_model(tmp_path / "b", seed=2)
    parts = [
        Passage("prose" if number % 2 else "code", tuple(dice.integers(5, 300, length + 1).tolist()))
        for number, length in enumerate(LENGTHS)
    ]
    write_store(tmp_path / "store", mlx_lm.load(str(source))[0], parts)
    found = compare(str(made), "4bit", str(tmp_path / "store"), lambda _: None, str(tmp_path / "positions.npz"))
    model = load_model(str(made), dequantize=False)[0]
    theirs, ours = (
        np.concatenate([*pieces]) for pieces in (read_logits(tmp_path / "store"), as_arrays(logits_of(model, parts)))
    )
    following = [token for part in parts for token in part.ids[1:]]
    right = table(theirs, ours, following, LENGTHS)
    agrees(found, right)
    of = np.load(tmp_path / "positions.npz", allow_pickle=False)
    assert (of["kld"].mean(), of["same"].mean()) == pytest.approx((right["mean_kld"], right["same_first_choice"]))
    assert np.bincount(of["passage"]).tolist() == list(LENGTHS)


def test_what_two_passages_begin_with_counts_once() -> None:
    rng = np.random.default_rng(0)
    ids = [[1, 2, 3, 4, 5], [1, 2, 3, 9, 8], [7, 2, 3, 9, 8], [1, 2, 3, 9, 6]]
    logits = [rng.normal(size=(4, 16)).astype(np.float32) for _ in range(8)]
    values = gathered([("dialogue", one) for one in ids], iter(logits[:4]), iter(logits[4:])).arrays()
    assert values["passage"].tolist() == [0] * 4 + [1] * 2 + [2] * 4 + [3]
    assert values["position"].tolist() == [0, 1, 2, 3, 2, 3, 0, 1, 2, 3, 3]
    assert values["token"].tolist() == [2, 3, 4, 5, 9, 8, 2, 3, 9, 8, 6]
    alone = gathered([("dialogue", ids[3])], iter(logits[3:4]), iter(logits[7:])).arrays()
    assert values["kld"][-1] == alone["kld"][-1]
