"""A converter is a module beside mlx-lm's and one of the engine: whoever adds them has it chosen, and used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlx_publish import converters
from mlx_publish.card.render import context as card_context
from mlx_publish.converters import Converter, converter_for, converter_of
from mlx_publish.engine import backends
from mlx_publish.engine.convert import convert
from mlx_publish.evidence.conversion import VariantOrder
from mlx_publish.evidence.records import to_json
from models import make_model
from samples import record

KNOWS = """
from mlx_publish.converters import Commands, Converter, Support


class Toy(Converter):
    module = "toy_lm"
    distribution = "toy-lm"
    packages = ("mlx", "toy-lm")
    order = 5

    def support(self):
        return Support("7.1", frozenset({"toy"}))

    def snippet(self, load_as, smoke):
        return f"import toy; toy.play({load_as!r})"

    def tools_snippet(self, smoke):
        return ""

    def commands(self, load_as, smoke):
        return Commands(f"toy {load_as}", "", "toy-server", "curl toy")


CONVERTER = Toy()
"""
BUILDS = """
from mlx_publish.engine.backends.mlx_lm import *
from mlx_publish.engine.backends import mlx_lm


def save_config(config, path):
    mlx_lm.save_config({**config, "made_with": "a toy"}, path)
"""


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Converter, ...]:
    """Both modules, each in the room where they belong."""
    for room, package, text in (("knows", converters, KNOWS), ("builds", backends, BUILDS)):
        (tmp_path / room).mkdir()
        (tmp_path / room / "toy_lm.py").write_text(text)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / room)])
    made = converters._registered()
    monkeypatch.setattr(converters, "CONVERTERS", made)
    return made


def test_it_is_chosen_for_what_it_alone_can_load(registered: tuple[Converter, ...]) -> None:
    assert [c.distribution for c in registered if not c.senses] == ["mlx-lm", "toy-lm"]
    assert converter_for(lambda: "toy").distribution == "toy-lm"
    assert converter_for(lambda: "llama").distribution == "mlx-lm"
    assert converter_for(lambda: "nobody knows it").distribution == "mlx-lm"


def test_where_there_is_no_choice_the_source_is_not_read_for_it() -> None:
    def read() -> str:
        raise AssertionError("the config was read")

    assert converter_for(read).distribution == "mlx-lm"


@pytest.mark.usefixtures("registered")
def test_the_card_says_how_to_use_what_it_made() -> None:
    evidence = record(tools={"mlx": "0.32", "toy-lm": "7.1"})
    assert converter_of(evidence.tools).distribution == "toy-lm"
    shown = card_context("a model", "lab/a-model", "", evidence)
    assert shown["snippet"] == "import toy; toy.play('lab/a-model')"
    assert "toy lab/a-model" in str(shown["commands"])
    assert "mlx_lm.generate" in str(card_context("a model", "lab/a-model", "", record())["commands"])


@pytest.mark.usefixtures("registered")
def test_the_engine_converts_by_it(tmp_path: Path) -> None:
    source = make_model(tmp_path / "source")
    order = VariantOrder(str(tmp_path / "made"), "4bit", True, 4, 64, "affine", None, None)
    config = json.loads((source / "config.json").read_text())
    tokenizer = {"folder": str(source), "plain": None, "source": str(source), "rows": None}
    backends.use("toy_lm")
    try:
        convert(str(source), config, to_json([order]), tokenizer, [], None, lambda _: None)
    finally:
        backends.use("mlx_lm")
    assert json.loads((tmp_path / "made/config.json").read_text())["made_with"] == "a toy"
