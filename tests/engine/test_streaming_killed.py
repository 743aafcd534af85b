"""A streamed conversion goes on after a kill at any moment, and its files are those of one that was never killed."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mlx_publish.engine.streaming import streamed
from mlx_publish.errors import SurroundingsError
from mlx_publish.evidence.records import to_json
from streamed import ORDERS, Parent, asked, by_stream, by_stream_again, dealt, digests, lived, made, ordered, ordinary
from tensor_file import read_tensors


@pytest.mark.parametrize(("arch", "most"), [("qwen3_moe", 20), ("qwen3_5", 8)])
def test_it_is_killed_at_twenty_moments(tmp_path: Path, arch: str, most: int) -> None:
    source = made(tmp_path / "source", arch, layers=4)
    tensors = {name: array for path in source.glob("*.safetensors") for name, array in read_tensors(path).items()}
    dead = next(name for name in sorted(tensors) if name.endswith("up_proj.weight") and "layers.2" in name)
    tensors[dead] = np.zeros_like(tensors[dead])
    dealt(source, tensors, 12)
    orders = [ORDERS[0], ORDERS[-1]]
    expected = ordinary(source, tmp_path / "ordinary", orders)
    answer, rng, kills = tmp_path / "answer", random.Random(arch), 0  # noqa: S311  any will do
    for number in range(most):
        parent = Parent(source, tmp_path / f"work {number}", pieces=3)
        target = tmp_path / f"streamed {number}"
        moment = rng.randint(0, 9)
        while not lived(parent, target, orders, rng.random() / 20, answer, partial(parent.has_come_to, moment)):
            kills += 1
            moment = parent.events + rng.randint(0, 9)
        assert digests(target) == digests(tmp_path / "ordinary")
        assert answer.read_text() == repr(to_json(expected))
        answer.unlink()
        if kills >= most:
            break
    assert kills >= most


def test_a_shard_is_not_fetched_again_when_it_is_done(tmp_path: Path) -> None:
    source = made(tmp_path / "source", "llama")
    last = sorted(source.glob("*.safetensors"))[-1].name
    parent = Parent(source, tmp_path / "work", unproven=last)
    assert not lived(parent, tmp_path / "streamed", ORDERS[:1], 1, tmp_path / "answer", lambda: len(parent.done()) >= 4)
    assert parent.done() == parent.order[:-1]
    before = parent.fetched
    parent.unproven = ""
    expected = ordinary(source, tmp_path / "ordinary", ORDERS[:1])
    assert by_stream_again(parent, tmp_path / "streamed", ORDERS[:1]) == expected
    assert parent.fetched - before == (source / last).stat().st_size
    assert digests(tmp_path / "streamed") == digests(tmp_path / "ordinary")


def test_of_a_shard_that_is_not_proven_nothing_counts(tmp_path: Path) -> None:
    source = made(tmp_path / "source", "llama", shards=3)
    parent = Parent(source, tmp_path / "work", unproven=sorted(source.glob("*.safetensors"))[1].name)
    assert not lived(parent, tmp_path / "streamed", ORDERS, 1, tmp_path / "answer", lambda: bool(parent.done()))
    assert parent.done() == parent.order[:1]
    assert not (tmp_path / "streamed").exists()


def test_the_work_of_another_conversion_is_not_gone_on_with(tmp_path: Path) -> None:
    source = made(tmp_path / "source", "llama", shards=2)
    parent = Parent(source, tmp_path / "work")
    by_stream(parent, tmp_path / "streamed", ORDERS[:1])
    other = replace(parent.stream, key="another")
    with pytest.raises(SurroundingsError, match="work of another conversion"):
        streamed(parent.links, asked(source), ordered(tmp_path / "o", ORDERS[:1]), other, lambda _: None)


def test_a_line_that_a_kill_cut_short_does_not_count(tmp_path: Path) -> None:
    source = made(tmp_path / "source", "llama", shards=3)
    expected = ordinary(source, tmp_path / "ordinary", ORDERS[:1])
    parent = Parent(source, tmp_path / "work")
    by_stream(parent, tmp_path / "streamed", ORDERS[:1])
    journal = tmp_path / "work" / "stream" / "journal"
    journal.write_bytes(journal.read_bytes()[:-9])
    assert parent.done() == parent.order[:-1]
    assert by_stream_again(parent, tmp_path / "again", ORDERS[:1]) == expected
    assert digests(tmp_path / "again") == digests(tmp_path / "ordinary")


def test_files_that_somebody_removed_meanwhile_are_missed(tmp_path: Path) -> None:
    source = made(tmp_path / "source", "llama", shards=3)
    parent = Parent(source, tmp_path / "work")
    by_stream(parent, tmp_path / "streamed", ORDERS[:1])
    (tmp_path / "work" / "stream" / "out" / "4bit" / "model.safetensors").unlink()
    with pytest.raises(SurroundingsError, match="files of the interrupted conversion are missing"):
        by_stream_again(parent, tmp_path / "again", ORDERS[:1])
