"""A method is two modules: whoever adds them has its keys in recipes, its labels, its flags, and its bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- what was written is read by it
import pytest
from pydantic import ValidationError

from mlx_publish import methods
from mlx_publish.engine import methods as engine_methods
from mlx_publish.engine.backends import use
from mlx_publish.engine.convert import convert
from mlx_publish.evidence.conversion import VariantOrder
from mlx_publish.evidence.records import to_json
from mlx_publish.methods import METHODS, Form, Method, method_of
from mlx_publish.recipes.variant import VariantBase, short_variant, variant_class
from models import make_model

KEYS = """
from __future__ import annotations

from typing import Annotated, Literal

from mlx_publish.methods import Form, Method, wrong_key
from mlx_publish.recipes.flags import Flag
from mlx_publish.recipes.sections import Strict


class Options(Strict):
    signs: Annotated[Literal[1, 2] | None, Flag("N", "1 or 2 signs a weight")] = None
    '''Signs that are kept of a weight.'''


class Signs(Method):
    name = "signs"
    order = 5
    options = Options
    short_names = ("1sign",)

    def read(self, short):
        return {"signs": int(short[0])} if short in ("1sign", "2sign") else None

    def judge(self, keys):
        if keys.bits:
            raise wrong_key("signs", "has signs in place of bits")

    def form(self, keys):
        return Form(True, bits=8, group_size=32 * keys.signs, mode="affine")

    def label(self, form):
        return f"{form.group_size // 32}sign"

    def flags(self, form):
        return ["--signs", str(form.group_size // 32)]

    def bits_per_weight(self, form, wide):
        return 8 + 2 * wide / form.group_size

    def better(self, form):
        return "Take more signs."


METHOD = Signs()
"""
WRITES = """
from mlx_publish.engine.methods import rtn


def quantize(model, config, order, streams):
    model.update(zeroed(model))
    return rtn.quantize(model, config, order, streams)


def zeroed(model):
    from mlx.utils import tree_map_with_path

    return tree_map_with_path(lambda path, array: array * 0 if "mlp.up_proj" in path else array, model.parameters())
"""


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Method, ...]:
    """Both modules, each in the room where they belong."""
    for room, package, text in (("keys", methods, KEYS), ("writes", engine_methods, WRITES)):
        (tmp_path / room).mkdir()
        (tmp_path / room / "signs.py").write_text(text)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / room)])
    return methods._registered()


@pytest.fixture
def variant(registered: tuple[Method, ...]) -> type[VariantBase]:
    return variant_class(registered)


def test_it_is_found_by_being_there(registered: tuple[Method, ...]) -> None:
    assert {method.name for method in registered} - {method.name for method in METHODS} == {"signs"}
    assert METHODS[0].name == "rtn"


def test_a_recipe_has_its_keys_and_its_short_names(registered: tuple[Method, ...], variant: type[VariantBase]) -> None:
    short: Any = short_variant("2sign", registered)
    made = variant.model_validate(short)
    assert (made.label, made.quantizer.name, made.form) == ("2sign", "signs", Form(True, 8, 64, "affine"))
    assert variant.model_validate({"signs": 1, "dtype": "float16"}).label == "1sign-fp16"
    assert variant.model_validate({"bits": 4}).quantizer.name == "rtn"
    assert method_of(made, registered).flags(made.form) == ["--signs", "2"]
    with pytest.raises(ValidationError, match="has signs in place of bits"):
        variant.model_validate({"signs": 1, "bits": 4})
    fields = list(variant.model_fields)
    assert fields[:5] == ["name", "bits", "group_size", "mode", "mixed"]
    assert fields.index("signs") < fields.index("method")
    assert fields[-1] == "dtype"


@pytest.mark.usefixtures("registered")
def test_the_engine_writes_by_it(tmp_path: Path) -> None:
    source = make_model(tmp_path / "source")
    orders = [
        VariantOrder(str(tmp_path / name), name, True, 8, 32, "affine", None, "bfloat16", method=name)
        for name in ("rtn", "signs")
    ]
    use("mlx_lm")
    config = json.loads((source / "config.json").read_text())
    tokenizer = {"folder": str(source), "plain": None, "source": str(source), "rows": None}
    made = convert(str(source), config, to_json(orders), tokenizer, [], None, lambda _: None)
    name = "model.layers.0.mlp.up_proj"
    assert made.variants["rtn"].vanished == []
    assert made.variants["signs"].overflows == ""
    weights: dict[str, Any] = {o.label: mx.load(f"{o.folder}/model.safetensors") for o in orders}
    assert mx.any(weights["rtn"][f"{name}.scales"] != 0).item()
    assert mx.all(weights["signs"][f"{name}.biases"] == 0).item()
    same = f"{name.replace('up', 'down')}.weight"
    assert mx.array_equal(weights["rtn"][same], weights["signs"][same]).item()
