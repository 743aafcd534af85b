"""A stranger's tokenizer that takes the machine is refused before MLX's process loads it."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.console import Console
from mlx_publish.engine.child import Bounds, Job, run_job
from mlx_publish.errors import Refused
from mlx_publish.recipe_input import recipe_from_file
from mlx_publish.stages import STAGES, tame
from mlx_publish.stages.context import Context
from mlx_publish.stages.runner import chain, run_stages
from mlx_publish.stages.tame import try_tokenizer
from mlx_publish.work import Work
from models import make_model
from pipeline import QUICK, checks, write_recipe

Change = Callable[[dict[str, Any]], None]


def changed(folder: Path, change: Change) -> Path:
    made = make_model(folder, tie=False)
    path = made / "tokenizer.json"
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))
    return made


def blows_up(found: dict[str, Any]) -> None:
    steps = [{"type": "Replace", "pattern": {"String": one}, "content": one * 1000} for one in ("e", "e")]
    found["normalizer"] = {"type": "Sequence", "normalizers": steps}


def backtracks(found: dict[str, Any]) -> None:
    found["pre_tokenizer"] = {
        "type": "Split", "pattern": {"Regex": "(?:a|aa|[a-z0-9]+)*(?:[a-z0-9]|\\s)*\\z(?<=!)"}, "behavior": "Isolated",
        "invert": False,
    }  # fmt: skip


@pytest.mark.parametrize("change", [blows_up, backtracks])
def test_one_that_grows_or_does_not_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    monkeypatch.setattr(tame, "SECONDS", 4.0)
    source = changed(tmp_path / "Wild", change)
    begin = time.monotonic()
    with pytest.raises(Refused) as caught:
        try_tokenizer(source)
    assert caught.value.check == "tokenizer-tame"
    assert "tokenizer.json: the tokenizer" in caught.value.message
    assert time.monotonic() - begin < 60


def test_it_ends_a_conversion_as_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tame, "SECONDS", 2.0)
    source = changed(tmp_path / "Wild", backtracks)
    path = write_recipe(
        tmp_path / "one.yaml", source=str(source), variants=[{"bits": 8, "group_size": 32}], base_model="a/b",
        to=f"folder:{tmp_path}/out", **QUICK,
    )  # fmt: skip
    recipe = recipe_from_file(path)
    context = Context(recipe, recipe.variants, Work(tmp_path / "work", "one"), Console(io.StringIO()))
    assert run_stages(context, chain(STAGES, "convert")) == ("8bit-gs32",)
    assert checks(tmp_path / "work/one/8bit-gs32", "convert") == {"tokenizer-tame": "fail"}
    assert not (tmp_path / "work/one/8bit-gs32/model").exists()


@pytest.mark.parametrize("text", ["", "{", '{"version": "1.0"}', "[]"])
def test_one_that_cannot_be_loaded_is_left_to_the_check_that_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    try_tokenizer(tmp_path)


def test_usual_ones_are_let_through(tmp_path: Path, source: Path) -> None:
    try_tokenizer(make_model(tmp_path / "Tiny", tie=False))
    try_tokenizer(source)
    try_tokenizer(tmp_path)


def test_a_job_that_takes_more_memory_than_the_model_explains_is_refused(tmp_path: Path) -> None:
    job = Job("device", {}, tmp_path / "device.log", Bounds(60, 1 << 20))
    with pytest.raises(
        Refused, match=r"device took [0-9,]+ MB of memory; a model of this size needs 1 MB at most"
    ) as caught:
        run_job(job, print)
    assert caught.value.check == "memory-bounded"
