"""Plain rounding on the comparison's text, without a converted folder, and what a variant gains over it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- what is measured in a child is measured here once more
import numpy as np
import pytest
from mlx.utils import tree_flatten  # noqa: TID251

from gate import gate
from mlx_publish.engine import curve as module
from mlx_publish.engine import held, loading
from mlx_publish.engine.curve import curve
from mlx_publish.engine.divergence import mean_of
from mlx_publish.engine.fidelity import compare
from mlx_publish.engine.gain import gain_of, gains
from mlx_publish.engine.loading import load_model
from mlx_publish.engine.logits_store import write_store
from mlx_publish.engine.parameters import in_memory
from mlx_publish.engine.passages import Passage
from mlx_publish.engine.source_model import load_source
from mlx_publish.errors import Refused
from mlx_publish.evidence.conversion import VariantOrder
from mlx_publish.evidence.quantization import RoundingPoint
from mlx_publish.evidence.records import to_json
from mlx_publish.evidence.rounding import GainOrder, RoundingCurve, Width
from models import make_model
from pipeline import read_json

BITS = (2, 3, 4, 5, 6, 8)


def quiet(_: object) -> None:
    """Nobody listens to the progress."""


def orders(group: int = 64, bits: Sequence[int] = BITS, dtype: str | None = None) -> list[dict[str, Any]]:
    """Plain rounding at several widths."""
    tail = "" if group == 64 else f"-gs{group}"
    made = [VariantOrder("", f"{width}bit{tail}", True, width, group, "affine", None, dtype) for width in bits]
    return [to_json(order) for order in made]


def read(source: Path, folder: Path) -> Path:
    """Let a source read a few passages, and keep its logits."""
    rng, store = np.random.default_rng(5), folder / "store"
    parts = [Passage(kind, tuple(rng.integers(0, 250, 40).tolist())) for kind in ("prose", "prose", "code")]
    write_store(store, load_model(str(source), source=True)[0], parts)
    return store


def widths(*sizes: int) -> RoundingCurve:
    """A curve of which nothing is measured."""
    return RoundingCurve([Width(f"{bits}bit", size, 0.0) for bits, size in zip(BITS, sizes, strict=False)])


@pytest.mark.parametrize("arch", ["llama", "qwen3_moe", "lfm2"])
def test_a_width_is_as_far_from_the_source_as_its_converted_folder(arch: str, tmp_path: Path) -> None:
    source = make_model(tmp_path / "m", arch, hidden=128)
    made = gate(source, "--bits", 4)
    store = read(source, tmp_path)
    report = read_json(made.work / "4bit" / "convert.json")["result"]
    found = curve(str(source), str(store), str(tmp_path / "values"), [orders()], [report["weight_bytes"]], [], quiet)
    assert set(found.points) == {"4bit"}
    point, converted = found.points["4bit"], compare(str(made.model()), "4bit", str(store), quiet)
    assert (point.weight_bytes, point.bits_per_weight) == (report["weight_bytes"], report["bits_per_weight"])
    assert point.mean_kld == pytest.approx(converted.mean_kld, rel=1e-6)
    assert point.same_first_choice == converted.same_first_choice
    with np.load(tmp_path / "values" / "4bit.npz") as values:
        assert values["kld"].mean() == pytest.approx(converted.mean_kld, rel=1e-6)
        assert values["passage"].tolist() == [0] * 39 + [1] * 39 + [2] * 39


@pytest.mark.parametrize("gpu", [True, False], ids=["GPU", "fast BLAS"])
def test_it_computes_as_the_comparison_does_on_other_devices(
    gpu: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_model(tmp_path / "m", hidden=128)
    made = gate(source, "--bits", 3)
    if gpu:
        monkeypatch.setattr(loading, "on_gpu", lambda: True)  # packed, in the stored types
    else:
        for room in (held, module):
            monkeypatch.setattr(room, "fast_blas_in_front", lambda: True)  # unpacked, in float32
    store = read(source, tmp_path)
    size = read_json(made.work / "3bit" / "convert.json")["result"]["weight_bytes"]
    point = curve(str(source), str(store), str(tmp_path / "values"), [orders()], [size], [], quiet).points["3bit"]
    converted = compare(str(made.model("3bit")), "3bit", str(store), quiet)
    assert converted.computed_in == ("as stored" if gpu else "float32")
    assert (point.mean_kld, point.same_first_choice) == (converted.mean_kld, converted.same_first_choice)


def test_only_the_neighbours_that_are_not_known_are_measured_and_none_changes_the_next(tmp_path: Path) -> None:
    source = make_model(tmp_path / "m", hidden=128)
    store, values = read(source, tmp_path), tmp_path / "values"
    known = curve(str(source), str(store), str(values), [orders()], [], [], quiet)
    assert [width.label for width in known.widths] == [f"{bits}bit" for bits in BITS]
    assert (known.points, values.exists()) == ({}, False)
    at = {width.label: width.weight_bytes for width in known.widths}
    between = (at["4bit"] + at["5bit"]) // 2
    both = curve(str(source), str(store), str(values), [orders()], [between, at["3bit"]], [], quiet)
    assert list(both.points) == ["3bit", "4bit", "5bit"]
    alone = curve(str(source), str(store), str(values), [orders()], [between], ["4bit"], quiet)
    assert alone.points == {"5bit": both.points["5bit"]}
    assert both.points["3bit"].mean_kld > both.points["4bit"].mean_kld > both.points["5bit"].mean_kld


def test_another_type_has_other_bytes(tmp_path: Path) -> None:
    source = make_model(tmp_path / "m", hidden=128)
    store = read(source, tmp_path)
    sizes = [
        [
            width.weight_bytes
            for width in curve(str(source), str(store), "", [orders(dtype=dtype)], [], [], quiet).widths
        ]
        for dtype in (None, "bfloat16", "float32")
    ]
    assert sizes[0] == sizes[1]
    assert all(wide > narrow for wide, narrow in zip(sizes[2], sizes[0], strict=True))


def test_a_model_whose_rows_a_group_of_64_does_not_divide_is_rounded_by_groups_of_32(tmp_path: Path) -> None:
    source = make_model(tmp_path / "m", hidden=96, heads=3, kv_heads=1, config={"head_dim": 32})
    store = read(source, tmp_path)
    found = curve(str(source), str(store), "", [orders(), orders(32)], [], [], quiet)
    assert [width.label for width in found.widths] == [f"{bits}bit-gs32" for bits in BITS]
    plain = make_model(tmp_path / "plain", hidden=128)
    found = curve(str(plain), str(store), "", [orders(), orders(32)], [], [], quiet)
    assert [width.label for width in found.widths] == [f"{bits}bit" for bits in BITS]


def test_the_model_is_the_source_again_where_reading_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_source(make_model(tmp_path / "m", hidden=128))
    config, model = loaded.config, in_memory(loaded)
    before = {path: np.array(array.astype(mx.float32)) for path, array in tree_flatten(model.parameters())}

    def broken(*_: object) -> None:
        raise KeyError

    monkeypatch.setattr(module, "fit", broken)
    with pytest.raises(KeyError), module._rounded(model, config, VariantOrder(**orders(bits=(3,))[0])):
        pass
    after: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    assert set(after) == set(before)
    assert all(np.array_equal(np.array(after[path].astype(mx.float32)), before[path]) for path in before)
    assert mx.default_device() == mx.Device(mx.cpu, 0)


def test_a_variant_is_compared_with_the_widths_on_both_sides_or_with_the_last_one() -> None:
    found = widths(20, 30, 40, 50, 60, 80)

    def labels(size: int) -> list[str]:
        return [width.label for width in found.neighbours(size)]

    assert labels(45) == ["4bit", "5bit"]
    assert labels(40) == ["4bit"]
    assert labels(70) == ["6bit", "8bit"]
    assert labels(19) == ["2bit"]
    assert labels(90) == ["8bit"]
    assert [width.label for width in widths(20, 20).neighbours(25)] == ["3bit"]


def values(folder: Path, name: str, kld: Any, passage: Any, same: Any = None) -> str:
    """A file of values by position."""
    kld = np.asarray(kld, np.float64)
    same = np.ones(len(kld), np.bool_) if same is None else np.asarray(same)
    path = folder / f"{name}.npz"
    np.savez(path, kld=kld, same=same, source=kld, model=kld, passage=np.asarray(passage, np.int32))
    return str(path)


def ordered(folder: Path, size: int, variant: Any, others: dict[int, Any], passage: Any) -> GainOrder:
    """A variant of so many bytes beside plain rounding by its bytes."""
    points = [RoundingPoint(f"{bytes_}", bytes_, 1.0, float(np.mean(kld)), 1.0) for bytes_, kld in others.items()]
    paths = [values(folder, str(bytes_), kld, passage) for bytes_, kld in others.items()]
    return GainOrder("plan", size, values(folder, "plan", variant, passage), points, paths, points)


def test_the_gain_is_the_difference_from_a_line_in_logarithms_paired_by_position(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    passage = np.repeat(np.arange(40, dtype=np.int32), 25)
    common = rng.gamma(1.0, 1.0, 1000) * np.repeat(rng.gamma(2.0, 0.5, 40), 25)
    low, high, mine = (
        common * 0.5,
        common * 0.1 * rng.uniform(0.8, 1.2, 1000),
        common * 0.12 * rng.uniform(0.5, 1.5, 1000),
    )
    gain = gain_of(ordered(tmp_path, 375, mine, {300: low, 400: high}, passage))
    assert gain is not None
    expected = low.mean() ** 0.25 * high.mean() ** 0.75
    assert gain.rounding_kld == pytest.approx(expected, rel=1e-12)
    assert gain.difference == pytest.approx(mine.mean() - expected, rel=1e-12)
    # The error is that of drawing other passages, of which the interpolation is made anew each time.
    drawn = []
    for _ in range(4000):
        chosen = rng.integers(0, 40, 40)
        rows = (np.arange(25) + 25 * chosen[:, None]).ravel()
        drawn.append(mine[rows].mean() - low[rows].mean() ** 0.25 * high[rows].mean() ** 0.75)
    assert gain.difference_error == pytest.approx(np.std(drawn), rel=0.1)
    unpaired = np.hypot(mean_of(mine, passage).error, mean_of(high, passage).error)
    assert gain.difference_error < 0.5 * unpaired


@pytest.mark.parametrize("size", [200, 500])
def test_beyond_the_narrowest_and_the_widest_these_stand_as_they_are(size: int, tmp_path: Path) -> None:
    ones, passage = np.ones(6), [0, 0, 1, 1, 2, 2]
    gain = gain_of(ordered(tmp_path, size, 0.2 * ones, {300: 0.1 * ones}, passage))
    assert gain is not None
    assert (gain.rounding_kld, gain.difference) == pytest.approx((0.1, 0.1))


@pytest.mark.parametrize("loss", [0.0, 1e-12])
def test_no_loss_at_all_is_no_division_by_zero(loss: float, tmp_path: Path) -> None:
    ones, passage = np.ones(6), [0, 0, 1, 1, 2, 2]
    for others in ({300: loss * ones, 400: loss * ones}, {300: 0.1 * ones, 400: loss * ones}, {350: loss * ones}):
        gain = gain_of(ordered(tmp_path, 350, loss * ones, others, passage))
        assert gain is not None
        assert np.isfinite([gain.rounding_kld, gain.difference, gain.difference_error]).all()
        assert gain.rounding_kld >= loss


def test_a_number_that_is_none_gives_no_gain_and_other_texts_are_refused(tmp_path: Path) -> None:
    order = ordered(tmp_path, 350, [0.1, np.nan], {300: [0.1, 0.1]}, [0, 1])
    assert gain_of(order) is None
    assert gains([to_json(order)], quiet).gains == {"plan": None}
    values(tmp_path, "300", [0.1, 0.1], [0, 0])
    with pytest.raises(Refused, match="other texts") as caught:
        gain_of(order)
    assert caught.value.check == "earns-bytes"
