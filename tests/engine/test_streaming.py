"""A source that arrives shard by shard gives the files of one that lies there, and needs no byte before it is there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from families import FAMILIES
from mlx_publish.engine import convert as converting
from mlx_publish.engine.streaming import streamed
from mlx_publish.evidence.conversion import Conversion, VariantOrder
from mlx_publish.model.normalise import normalise_config
from models import ARCHITECTURES, make_model
from streamed import Parent, digests

ORDERS = [
    VariantOrder("", "4bit", True, 4, 64, "affine", None, None),
    VariantOrder("", "8bit", True, 8, 32, "affine", None, None),
    VariantOrder("", "mxfp4", True, 4, 32, "mxfp4", None, None),
    VariantOrder("", "nvfp4", True, 4, 16, "nvfp4", None, "float16"),
    VariantOrder("", "mixed", True, 4, 64, "affine", "mixed_3_6", None),
    VariantOrder("", "bf16", False, None, None, None, None, "bfloat16"),
]


def made(folder: Path, arch: str, shards: int = 5, **options: Any) -> Path:
    hybrid = arch in {"lfm2", "qwen3_5"}
    options = {"layers": 4 if hybrid else 2, "tie": arch != "deepseek_v3", **options}
    source = make_model(folder, arch, shards=shards, **options)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(normalise_config(config)[0]))
    return source


def ordered(to: Path, orders: list[VariantOrder] = ORDERS) -> list[VariantOrder]:
    return [replace(order, folder=str(to / order.label)) for order in orders]


def asked(source: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((source / "config.json").read_text())
    return config


def ordinary(source: Path, to: Path, orders: list[VariantOrder] = ORDERS) -> Conversion:
    _, conversion = converting._convert(source, asked(source), ordered(to, orders), lambda _: None, keep=False)
    return conversion


def by_stream(parent: Parent, to: Path, orders: list[VariantOrder] = ORDERS) -> Conversion:
    with parent:
        return streamed(parent.links, asked(parent.whole), ordered(to, orders), parent.stream, lambda _: None)


@pytest.mark.parametrize("arch", [*ARCHITECTURES, *(arch for arch in FAMILIES if arch not in ARCHITECTURES)])
def test_every_file_is_that_of_the_ordinary_way(tmp_path: Path, arch: str) -> None:
    source = made(tmp_path / "source", arch)
    orders = [order for order in ORDERS if arch not in {"lfm2", "qwen3_5", "deepseek_v3"} or not order.mixed]
    expected = ordinary(source, tmp_path / "ordinary", orders)
    parent = Parent(source, tmp_path / "work")
    assert by_stream(parent, tmp_path / "streamed", orders) == expected
    assert digests(tmp_path / "streamed") == digests(tmp_path / "ordinary")
    assert parent.emptied == parent.order
