"""Readers of quantized weights are proven before anything is made: no fault of a reader passes in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- what is compared with
import numpy as np
import pytest

import reading_faults as faults
from fp8_source import fp8_source, write_any
from mlx_publish.engine import convert as converting
from mlx_publish.engine.derived import Derived
from mlx_publish.engine.making import Way
from mlx_publish.engine.plain_reading import FORMS as PLAIN
from mlx_publish.engine.plain_reading_integers import INTEGER_FORMS
from mlx_publish.engine.reading_proof import prove, runs
from mlx_publish.engine.repacked import RepackedRows
from mlx_publish.engine.repacking import FORMS as REPACKS
from mlx_publish.engine.repacking import repack_of
from mlx_publish.engine.rounding import Precision
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.engine.unpacking import FORMS, derived_of
from mlx_publish.errors import Refused
from mlx_publish.evidence.conversion import VariantOrder
from mlx_publish.evidence.records import to_json
from mlx_publish.model.packed import PACKED_FILE, packing_of, without_block
from mlx_publish.model.weights import read_header

MXFP8 = Precision(32, 8, "mxfp8")
UP = "model.layers.0.mlp.up_proj.weight"
OTHER = "model.layers.1.mlp.up_proj.weight"


class Source:
    """A tiny llama in fp8, its readers, and what they are compared with."""

    def __init__(self, folder: Path, **how: Any) -> None:
        self.exact = fp8_source(folder, **how)
        config = json.loads((folder / "config.json").read_text())
        packing = packing_of(config, {}, read_header(folder / "model.safetensors"), "bfloat16")
        assert packing is not None
        self.folder, self.packing, self.files = folder, packing, TensorFiles(folder)
        self.derived: dict[str, Any] = dict(derived_of(packing))

    def with_fault(self, faulty: Derived) -> dict[str, Derived]:
        return {**self.derived, faulty.name: faulty}

    def repacked(self) -> list[Way]:
        """How each weight becomes mxfp8."""
        made = []
        for name, tensor in self.derived.items():
            repack = repack_of(tensor.weight, MXFP8, mx.bfloat16, self.files)
            assert not isinstance(repack, str)
            made.append(Way((name,), mx.bfloat16, MXFP8, repack=RepackedRows(self.files, [repack], tensor.shape)))
        return made


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path / "m", block=(32, 64), powers=True)


def test_every_form_that_is_read_has_an_own_reader_beside_the_quick_one() -> None:
    assert FORMS.keys() <= {*PLAIN, *INTEGER_FORMS}
    assert REPACKS.keys() <= FORMS.keys()


def test_readers_that_agree_are_told_of(source: Source) -> None:
    read = prove(source.derived, source.files, source.repacked())
    assert read is not None
    total = sum(values.size for values in source.exact.values())
    assert (read.weights, read.numbers, read.repacked, read.apart, read.whole) == (14, total, total, 0, 14)
    assert not read.strange


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda one, other: faults.with_parts_of(one, other, "scales"), id="the scales of another weight"),
        pytest.param(lambda one, _: faults.with_groups_of(one, 32), id="groups of half the size"),
        pytest.param(lambda one, _: faults.misread(one, block=(64, 64)), id="blocks of twice the rows"),
        pytest.param(lambda one, _: faults.misread(one, options={"float": "e5m2"}), id="the other 8-bit float"),
        pytest.param(lambda one, _: faults.turned(one, faults.pairs_exchanged), id="numbers in another order"),
        pytest.param(lambda one, _: faults.turned(one, faults.next_row), id="the row before"),
        pytest.param(lambda one, _: faults.turned(one, faults.doubled), id="an exponent that is off by one"),
        pytest.param(lambda one, _: faults.turned(one, faults.two_ulps_more), id="one number by two units"),
        pytest.param(lambda one, _: faults.as_mlx_computes(one, lambda a: a * 2), id="MLX alone"),
        pytest.param(lambda one, _: faults.as_mlx_computes(one, lambda a: a[:, ::-1]), id="MLX, columns turned"),
        pytest.param(lambda one, _: faults.as_mlx_computes(one, lambda a: a.T), id="MLX, sides exchanged"),
    ],
)
def test_a_fault_of_a_reader_refuses_and_names_the_weight(tmp_path: Path, fault: Callable[..., Derived]) -> None:
    source = Source(tmp_path / "m", block=(32, 64), powers=False)
    faulty = fault(source.derived[UP], source.derived[OTHER])
    with pytest.raises(Refused, match="two readers of its quantized weights") as refused:
        prove(source.with_fault(faulty), source.files, [])
    assert refused.value.check == "source-read"
    assert UP in str(refused.value)
    assert "(fp8)" in str(refused.value)


@pytest.mark.parametrize("part", [0, 1], ids=["codes", "scales"])
@pytest.mark.parametrize("row", [0, 1, 100, 127], ids=str)
def test_a_fault_of_a_repack_refuses(source: Source, part: int, row: int) -> None:
    ways = source.repacked()
    way = next(way for way in ways if way.names == (UP,))
    assert way.repack is not None
    (good,) = way.repack.repacks

    class Faulty:
        name = UP

        def read(self, files: TensorFiles, first: int, last: int) -> Any:
            made = good.read(files, first, last)
            parts = [array.copy() for array in made.parts]
            if first <= row < last:
                parts[part][row - first, -1] += 1
            return made._replace(parts=parts)

    way.repack.repacks = [Faulty()]
    with pytest.raises(Refused, match=rf"{UP} is .* in row {row}, column .* as mxfp8 of 8 bits") as refused:
        prove(source.derived, source.files, ways)
    assert refused.value.check == "source-read"


@pytest.mark.parametrize("rows", [1, 12, 13, 130, 5000])
@pytest.mark.parametrize("block", [(1, 0), (0, 0), (128, 128)], ids=str)
def test_rows_from_the_beginning_the_end_and_between_are_compared(rows: int, block: tuple[int, int]) -> None:
    chosen = runs((rows, 8192), block)
    every = [row for first, last in chosen for row in range(first, last)]
    assert every == sorted(set(every))
    assert (every[0], every[-1]) == (0, rows - 1)
    assert len(every) <= 15
    if rows > 2 * block[0] > 2:
        assert {block[0] - 1, block[0]} <= set(every)
    if rows > 100:
        assert any(rows // 4 < row < rows * 3 // 4 for row in every)


def test_small_weights_are_compared_whole() -> None:
    assert runs((256, 256), (1, 32)) == [(0, 256)]
    assert runs((2, 128, 128), (1, 32)) == [(0, 256)]


def test_nothing_is_written_where_readers_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(tmp_path / "m", block=(32, 64))

    def prove_another(derived: Any, files: TensorFiles, ways: Any) -> Any:
        return prove({**derived, UP: faults.turned(derived[UP], faults.next_row)}, files, ways)

    monkeypatch.setattr(converting, "prove", prove_another)
    links = tmp_path / "links"
    links.mkdir()
    for path in source.folder.iterdir():
        (links / path.name).symlink_to(path)
    (links / PACKED_FILE).write_text(json.dumps(to_json(source.packing)))
    config = json.loads((source.folder / "config.json").read_text())
    (links / "config.json").unlink()
    (links / "config.json").write_text(json.dumps(without_block(config)))
    order = VariantOrder(str(tmp_path / "made"), "bf16", False, None, None, None, None, "bfloat16")
    tokenizer = {"folder": str(source.folder), "plain": None, "source": str(source.folder), "rows": None}
    with pytest.raises(Refused, match="two readers of its quantized weights"):
        converting.convert(str(links), config, [to_json(order)], tokenizer, [], None, lambda _: None)
    assert not list((tmp_path / "made").glob("*"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda scales: {**scales, UP: scales[UP] * 64}, "many times as large or small as their like"),
        (lambda scales: {**scales, UP: 1 / scales[UP]}, "another magnitude than those of any layer"),
    ],
    ids=["another weight's", "inverted"],
)
def test_scales_that_are_not_the_weights_own_are_a_warning(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], words: str
) -> None:
    make = tmp_path / "m"
    fp8_source(make, layers=4)
    arrays: Any = mx.load(str(make / "model.safetensors"))
    tensors = {name: np.array(a.view(mx.uint16) if a.dtype == mx.bfloat16 else a) for name, a in arrays.items()}
    scales = {name.removesuffix("_scale_inv"): a for name, a in tensors.items() if name.endswith("_scale_inv")}
    write_any(make / "model.safetensors", tensors | {f"{name}_scale_inv": a for name, a in change(scales).items()})
    config = json.loads((make / "config.json").read_text())
    packing = packing_of(config, {}, read_header(make / "model.safetensors"), None)
    assert packing is not None
    read = prove(derived_of(packing), TensorFiles(make), [])
    assert read is not None
    assert any(UP in told and words in told for told in read.strange)
