"""A source that arrives shard by shard gives the files of one that lies there, and needs no byte before it is there."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from families import FAMILIES
from mlx_publish.evidence.conversion import Conversion
from mlx_publish.model.weights import read_header
from models import ARCHITECTURES
from streamed import ORDERS, Parent, by_stream, digests, made, ordinary, scattered


@pytest.mark.parametrize("arch", [*ARCHITECTURES, *(arch for arch in FAMILIES if arch not in ARCHITECTURES)])
def test_every_file_is_that_of_the_ordinary_way(tmp_path: Path, arch: str) -> None:
    source = made(tmp_path / "source", arch)
    orders = [order for order in ORDERS if arch not in {"lfm2", "qwen3_5", "deepseek_v3"} or not order.mixed]
    expected = ordinary(source, tmp_path / "ordinary", orders)
    parent = Parent(source, tmp_path / "work")
    assert by_stream(parent, tmp_path / "streamed", orders) == expected
    assert digests(tmp_path / "streamed") == digests(tmp_path / "ordinary")
    assert parent.emptied == parent.order


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Conversion]:
    """A mixture of experts that are scattered over eight shards, converted in the ordinary way."""
    folder = tmp_path_factory.mktemp("experts")
    source = scattered(made(folder / "source", "qwen3_moe"), 8)
    return source, folder / "ordinary", ordinary(source, folder / "ordinary")


@pytest.mark.parametrize("seed", range(3))
def test_experts_that_are_scattered_over_all_shards_need_no_spill(
    tmp_path: Path, experts: tuple[Path, Path, Conversion], seed: int
) -> None:
    source, folder, expected = experts
    parent = Parent(source, tmp_path / "work", seed=seed, pieces=1 + 3 * seed)
    assert by_stream(parent, tmp_path / "streamed") == expected
    assert digests(tmp_path / "streamed") == digests(folder)
    assert parent.most_spilled == 0
    largest = max((source / name).stat().st_size for name in parent.order)
    headers = 4096 * 2 * len(parent.order)
    assert parent.most_shards <= largest + headers


def test_all_shards_at_once_as_from_a_cache(tmp_path: Path, experts: tuple[Path, Path, Conversion]) -> None:
    source, folder, expected = experts
    parent = Parent(source, tmp_path / "work", at_once=True)
    assert by_stream(parent, tmp_path / "streamed") == expected
    assert digests(tmp_path / "streamed") == digests(folder)


@pytest.mark.parametrize("arch", ["qwen3_5", "lfm2", "deepseek_v3", "phi3", "gemma3_text"])
@pytest.mark.parametrize("seed", range(2))
def test_what_a_class_computes_of_tensors_in_several_shards(tmp_path: Path, arch: str, seed: int) -> None:
    source = scattered(made(tmp_path / "source", arch), 7, seed)
    expected = ordinary(source, tmp_path / "ordinary", ORDERS[:2])
    parent = Parent(source, tmp_path / "work", seed=seed)
    assert by_stream(parent, tmp_path / "streamed", ORDERS[:2]) == expected
    assert digests(tmp_path / "streamed") == digests(tmp_path / "ordinary")
    spill = tmp_path / "work" / "stream" / "spill"
    assert not list(spill.iterdir())


@pytest.mark.parametrize("seed", range(3))
def test_what_waits_for_later_shards_is_put_aside_and_takes_no_more_than_its_own_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    model = importlib.import_module("mlx_lm.models.llama").Model
    sanitize = model.sanitize

    def fused(self: Any, weights: Any) -> Any:
        """A class that computes a weight of two, which may lie in two shards."""
        made = dict(sanitize(self, weights))
        for name in [name for name in made if name.endswith("o_proj.weight")]:
            made[name] = made[name] + made[name.replace("o_proj", "q_proj")]
        return made

    monkeypatch.setattr(model, "sanitize", fused)
    source = scattered(made(tmp_path / "source", "llama"), 9, seed)
    expected = ordinary(source, tmp_path / "ordinary", ORDERS[:2])
    sizes = {info.name: info.nbytes for path in source.glob("*.safetensors") for info in read_header(path)}
    most = sum(size + (1 << 14) for name, size in sizes.items() if "o_proj" in name or "q_proj" in name)
    parent = Parent(source, tmp_path / "work", seed=seed)
    assert by_stream(parent, tmp_path / "streamed", ORDERS[:2]) == expected
    assert digests(tmp_path / "streamed") == digests(tmp_path / "ordinary")
    assert 0 < parent.most_spilled <= most
    assert not list((tmp_path / "work" / "stream" / "spill").iterdir())
    largest = max((source / name).stat().st_size for name in parent.order)
    assert parent.most_shards <= largest + 4096 * 2 * len(parent.order)
