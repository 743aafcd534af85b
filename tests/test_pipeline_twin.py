"""The twin within `inspect`: a Hub's repo is refused before its weights, what is known is kept, without torch all goes on."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Published
from gate import edit_json
from hub import Hub
from mlx_publish.checks.twin import TwinFacts
from mlx_publish.children.torch import VARIABLE, Torch
from mlx_publish.context import Context
from mlx_publish.evidence.proof import TwinProof
from mlx_publish.evidence.records import from_json
from mlx_publish.recipes.read import recipe_from_flags
from mlx_publish.source import twin
from mlx_publish.text.console import Console
from mlx_publish.work import Work
from models import answer_table, make_model, make_scripted
from pipeline import User, checks, read_json, write_recipe

SOURCE = "acme/Tiny"
FOUND = from_json(TwinProof, {
    "class": "X", "parameters": 1, "problem": "", "lost": [], "against": "transformers", "boundary": None, "blame": None,
    "versions": {"transformers": "5"}, "mlx_lm": {"mlx-lm": "1"}, "value": None,
    "texts": [{"positions": 24, "nmse": 1e-13, "worst_position": 1e-13, "mean_kld": 0.0, "same_first_choice": 1.0,
               "position": None, "problem": ""}] * 2,
})  # fmt: skip


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as hub:
        yield hub


class Counted:
    """A Python with torch that writes down how often it is started to compute."""

    def __init__(self, python: Path, folder: Path) -> None:
        self._log = folder / "starts"
        self.path = folder / "python"
        self.path.write_text(f'#!/bin/sh\necho "$*" >> "{self._log}"\nexec "{python}" "$@"\n', encoding="utf-8")
        self.path.chmod(0o755)

    @property
    def starts(self) -> int:
        said = self._log.read_text(encoding="utf-8") if self._log.exists() else ""
        return said.count(" mlx_publish.torch_check\n")


@pytest.fixture
def python(torch_python: Path, tmp_path: Path) -> Counted:
    (tmp_path / "python").mkdir()
    return Counted(torch_python, tmp_path / "python")


def files(folder: Path) -> dict[str, bytes | Path]:
    return {path.name: path for path in folder.iterdir()}


def message(variant: Path, check: str) -> str:
    return next(str(one["message"]) for one in read_json(variant / "inspect.json")["checks"] if one["id"] == check)


def test_a_window_that_the_class_lacks_is_refused_before_a_byte_of_weights(
    hub: Hub, python: Counted, tmp_path: Path
) -> None:
    model = make_model(tmp_path / "m", "mistral", config={"sliding_window": 256, "max_position_embeddings": 4096})
    hub.put(SOURCE, files(model))
    ada = User(tmp_path / "home", hub, "read", {VARIABLE: str(python.path)})
    ended = ada.run("inspect", "--source", SOURCE, "--to", "lab/x", "--work", tmp_path / "work", code=1)
    assert "from position 256 on (sliding_window): it ignores sliding_window (256)" in ended.text
    variant = tmp_path / "work/Tiny/4bit"
    assert [id_ for id_, status in checks(variant, "inspect").items() if status == "fail"] == ["twin-equal"]
    # Not even headers: there is the list of files and nothing more.
    assert [one.path for one in hub.log if ".safetensors" in one.path] == []
    assert sum(one.sent for one in hub.log) < 2 << 20
    assert python.starts == 1


def test_what_is_known_of_a_config_is_kept_and_nothing_is_started_for_it(python: Counted, tmp_path: Path) -> None:
    source = make_model(tmp_path / "m")
    user = User(tmp_path / "home", more={VARIABLE: str(python.path)})
    flags = ["--source", source, "--to", f"folder:{tmp_path}/out", "--work", tmp_path / "work"]
    user.run("inspect", *flags)
    variant = tmp_path / "work/m/4bit"
    assert checks(variant, "inspect")["twin-equal"] == "pass"
    assert python.starts == 1
    user.run("inspect", *flags, "--force")
    assert checks(variant, "inspect")["twin-equal"] == "pass"
    assert python.starts == 1
    # Other weights of the same config do not concern it, another config does.
    shutil.copyfile(make_model(tmp_path / "o", seed=1) / "model.safetensors", source / "model.safetensors")
    user.run("inspect", *flags)
    assert python.starts == 1
    edit_json(source, "config.json", rope_theta=77_777.0)
    user.run("inspect", *flags)
    assert python.starts == 2
    assert checks(variant, "inspect")["twin-equal"] == "pass"
    left = {path.name for path in (tmp_path / "home/tmp").iterdir()}
    assert not {name for name in left if name.startswith(("mlx-publish", "torch"))}


def test_an_accepted_difference_goes_through_and_the_card_tells_it(python: Counted, tmp_path: Path) -> None:
    source = make_scripted(tmp_path / "m", answer_table(), config={"hidden_act": "gelu"})
    reason = "Trained with silu, whatever it says."
    accept = [{"check": check, "reason": reason} for check in ("twin-equal", "config-understood")]
    recipe = write_recipe(
        tmp_path / "m.yaml", source=str(source), base_model="acme/base", to=f"folder:{tmp_path}/out", accept=accept
    )
    user = User(tmp_path / "home", more={VARIABLE: str(python.path)})
    user.run("run", "--recipe", recipe, "--work", tmp_path / "work")
    variant = tmp_path / "work/m/4bit"
    assert checks(variant, "inspect")["twin-equal"] == "warn"
    assert reason in message(variant, "twin-equal")
    card = (variant / "model/README.md").read_text(encoding="utf-8")
    assert "gives other logits (normalised squared error" in card
    assert "it ignores hidden\\_act" in card or "it ignores hidden_act" in card
    assert reason in card
    assert "Not proven: that MLX computes this architecture as transformers does." in card


def test_without_torch_it_is_not_proven_and_nothing_else_changes(published: Published) -> None:
    inspected = checks(published.variant, "inspect")
    assert inspected["twin-equal"] == "skip"
    assert "torch is not installed" in message(published.variant, "twin-equal")
    assert "fail" not in inspected.values()
    assert json.loads((published.out / "mlx-publish.json").read_text(encoding="utf-8"))["proof"] is None
    card = (published.out / "README.md").read_text(encoding="utf-8")
    assert "- Not proven: that MLX computes this architecture as transformers does." in card
    assert "**Architecture.**" not in card


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The configs that a twin is made for, by a prover that finds all equal."""
    configs: list[Any] = []

    class Prover:
        def __init__(self, *_: object, **__: object) -> None: ...

        def __enter__(self) -> Prover:
            return self

        def __exit__(self, *_: object) -> None: ...

        def prove(self, config: Any, _sees: object = None) -> TwinFacts:
            configs.append(config)
            return TwinFacts(None, "it broke") if config.get("rope_theta") == 1.0 else TwinFacts(FOUND)

    monkeypatch.setattr(twin, "Prover", Prover)
    return configs


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TwinFacts]:
    """What a run of its own says of the twin, with given versions of torch and keys of config.json."""
    source = make_model(tmp_path / "m")

    def look(version: str = "2.13.0", **keys: Any) -> TwinFacts:
        edit_json(source, "config.json", **keys)
        versions = {"torch": version, "transformers": "5.24.0"}
        monkeypatch.setattr(twin, "find_torch", lambda: Torch(tmp_path, versions))
        recipe = recipe_from_flags({"source": str(source), "license": "apache-2.0"})
        work = Work(tmp_path / "work", recipe.name)
        return twin.twin_facts(Context(recipe, recipe.variants, work, Console(io.StringIO())))

    return look


def test_a_proof_is_of_one_config_and_of_the_versions_that_made_it(
    fresh: Callable[..., TwinFacts], asked: list[Any]
) -> None:
    assert fresh() == fresh() == TwinFacts(FOUND)
    assert len(asked) == 1
    fresh("2.14.0")
    assert len(asked) == 2
    fresh("2.14.0", rope_theta=77_777.0)
    assert len(asked) == 3
    fresh("2.14.0", rope_theta=77_777.0)
    assert len(asked) == 3


def test_what_was_not_found_out_is_asked_again(fresh: Callable[..., TwinFacts], asked: list[Any]) -> None:
    assert fresh(rope_theta=1.0) == fresh(rope_theta=1.0) == TwinFacts(None, "it broke")
    assert len(asked) == 2
