"""A stranger's tokenizer that takes the machine is refused before MLX's process loads it."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gate import gate
from mlx_publish.children.jobs import Bounds, Job, run_job
from mlx_publish.context import Context
from mlx_publish.conversion import tame
from mlx_publish.conversion.tame import try_tokenizer
from mlx_publish.errors import Refused
from mlx_publish.model.tokenizer_bounds import judge_tokenizer
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.stages import STAGES
from mlx_publish.stages.runner import chain, run_stages
from mlx_publish.text.console import Console
from mlx_publish.work import Work
from models import make_model
from pipeline import QUICK, checks, write_recipe

Change = Callable[[dict[str, Any]], None]


def changed(folder: Path, change: Change) -> Path:
    made = make_model(folder, tie=False)
    path = made / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    change(tokenizer)
    path.write_text(json.dumps(tokenizer))
    return made


def blows_up(tokenizer: dict[str, Any]) -> None:
    steps = [{"type": "Replace", "pattern": {"String": letter}, "content": letter * 1000} for letter in ("e", "e")]
    tokenizer["normalizer"] = {"type": "Sequence", "normalizers": steps}


def claims_a_large_table(tokenizer: dict[str, Any]) -> None:
    """Of so many bytes that no memory holds them; it has 40."""
    table = b"\xf0\xff\xff\xff" + bytes(40)
    tokenizer["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}


def backtracks(tokenizer: dict[str, Any]) -> None:
    tokenizer["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"Regex": "(?:a|aa|[a-z0-9]+)*(?:[a-z0-9]|\\s)*\\z(?<=!)"},
        "behavior": "Isolated",
        "invert": False,
    }


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
    assert "tokenizer.json: the tokenizer" in str(caught.value)
    assert time.monotonic() - begin < 60


def test_it_ends_a_conversion_as_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tame, "SECONDS", 2.0)
    source = changed(tmp_path / "Wild", backtracks)
    path = write_recipe(
        tmp_path / "one.yaml",
        source=str(source),
        variants=[{"bits": 8, "group_size": 32}],
        base_model="a/b",
        to=f"folder:{tmp_path}/out",
        **QUICK,
    )
    recipe = recipe_from_file(path)
    context = Context(recipe, recipe.variants, Work(tmp_path / "work", "one"), Console(io.StringIO()))
    assert run_stages(context, chain(STAGES, "convert")) == ("8bit-gs32",)
    assert checks(tmp_path / "work/one/8bit-gs32", "convert") == {"tokenizer-tame": "fail"}
    assert not (tmp_path / "work/one/8bit-gs32/model").exists()


def test_one_that_claims_a_large_table_is_one_too(tmp_path: Path) -> None:
    made = gate(changed(tmp_path / "Wild", claims_a_large_table), "--bits", 8, "--group-size", 32, code=1)
    assert made.failed("8bit-gs32") == ["tokenizer-tame"]
    assert "MB of memory" in made.message("tokenizer-tame", "8bit-gs32")


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


def regex(pattern: str) -> Change:
    """A rule that costs nothing until a certain text comes."""

    def change(tokenizer: dict[str, Any]) -> None:
        split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, tokenizer["pre_tokenizer"]]}

    return change


def one_word_for_all(tokenizer: dict[str, Any]) -> None:
    tokenizer["model"] = {
        "type": "WordPiece",
        "unk_token": "[NONE]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 9,
        "vocab": tokenizer["model"]["vocab"],
    }


def strips_more_than_there_is(tokenizer: dict[str, Any]) -> None:
    strip = {"type": "Strip", "content": "a", "start": 10**18, "stop": 10**18}
    tokenizer["decoder"] = {"type": "Sequence", "decoders": [tokenizer["decoder"], strip]}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(regex("Moon(?:(.+)+)+\\x07"), id="a word of the probes"),
        pytest.param(one_word_for_all, id="no word for the unknown"),
        pytest.param(strips_more_than_there_is, id="a panic"),
    ],
)
def test_what_breaks_the_library_in_the_engine_is_a_refusal_and_no_bug(tmp_path: Path, change: Change) -> None:
    made = gate(changed(tmp_path / "Wild", change), "--bits", 8, "--group-size", 32, code=1)
    assert made.failed("8bit-gs32")
    assert "a library fails on the tokenizer" in made.text or "the tokenizer" in made.text


def test_an_error_over_one_text_does_not_hide_what_another_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(tokenizer: dict[str, Any]) -> None:
        one_word_for_all(tokenizer)
        backtracks(tokenizer)

    monkeypatch.setattr(tame, "SECONDS", 4.0)
    with pytest.raises(Refused) as caught:
        try_tokenizer(changed(tmp_path / "Wild", change))
    assert caught.value.check == "tokenizer-tame"


@pytest.mark.parametrize(("dropout", "fine"), [(0.5, False), (1e-9, False), (None, True), (0.0, True), (0, True)])
def test_a_tokenizer_that_draws_lots_is_refused(tmp_path: Path, dropout: float | None, fine: bool) -> None:
    source = changed(tmp_path / "Wild", lambda tokenizer: tokenizer["model"].update(dropout=dropout))
    data = json.loads((source / "tokenizer.json").read_text())
    if fine:
        judge_tokenizer(data)
    else:
        with pytest.raises(Refused, match="splits text at random"):
            judge_tokenizer(data)
