"""A base with an adapter, from the recipe to the card: both pinned, both named, and the bytes of a merged model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from adapters import PREFIX, pair, put_mlx, put_peft, random
from hub import Hub
from models import make_model
from pipeline import User, checks, digests, read_json, reports, write_recipe
from tensor_file import read_tensors, write_tensors

Q, DOWN = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"
CARD = "---\nlicense: gemma\nbase_model: acme/Tiny\n---\n# An adapter\n"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("base") / "Tiny", dtype="float32")


def put_adapter(folder: Path, base: Path, **config: object) -> Path:
    rows, columns = read_tensors(base / "model.safetensors")[f"{DOWN}.weight"].shape
    put_peft(folder, pair(Q, 64, 64) | pair(DOWN, rows, columns, seed=5), **config)
    (folder / "README.md").write_text(CARD)
    return folder


def merged(base: Path, adapter: Path, folder: Path) -> Path:
    """Make the base with the adapter in its weights: added rank by rank in float32, as the engine adds them."""
    shutil.copytree(base, folder)
    tensors, own = read_tensors(base / "model.safetensors"), read_tensors(adapter / "adapter_model.safetensors")
    for module in (Q, DOWN):
        a, b = (own[f"{PREFIX}{module}.lora_{part}.weight"] for part in "AB")
        total = b[:, :1] * a[:1]
        for rank in range(1, len(a)):
            total = total + b[:, rank : rank + 1] * a[rank : rank + 1]
        tensors[f"{module}.weight"] = tensors[f"{module}.weight"] + total * np.float32(2)
    write_tensors(folder / "model.safetensors", tensors)
    return folder


def weights(variant: Path) -> dict[str, str]:
    return {path: digest for path, digest in digests(variant / "model").items() if path.endswith(".safetensors")}


def files(folder: Path) -> dict[str, bytes | Path]:
    return {path.name: path for path in folder.iterdir()}


def test_the_bytes_are_those_of_a_merged_model(user: User, base: Path, tmp_path: Path) -> None:
    adapter = put_adapter(tmp_path / "Lora", base, base_model_name_or_path="Tiny")
    one = ["--variants", "4bit,bf16", "--license", "mit", "--work", tmp_path / "work"]
    user.run("convert", "--source", base, "--adapter", adapter, *one)
    user.run("convert", "--source", merged(base, adapter, tmp_path / "Merged"), *one)
    for label in ("4bit", "bf16"):
        assert weights(tmp_path / "work/Lora" / label) == weights(tmp_path / "work/Merged" / label)
    said = checks(tmp_path / "work/Lora/4bit", "inspect")
    assert {name: status for name, status in said.items() if name.startswith("adapter-")} == {
        "adapter-form": "pass",
        "adapter-base": "pass",
        "adapter-placed": "pass",
        "adapter-numbers": "pass",
        "adapter-revision": "pass",
        "adapter-tokenizer": "pass",
        "adapter-licence": "pass",
    }


def test_a_source_alone_has_nothing_of_an_adapter_in_its_reports(user: User, base: Path, tmp_path: Path) -> None:
    user.run("convert", "--source", base, "--license", "mit", "--work", tmp_path / "work")
    for _, report in reports(tmp_path / "work/Tiny/4bit"):
        assert "adapter" not in json.dumps(report)


def test_another_adapter_is_converted_again_and_the_same_one_is_not(user: User, base: Path, tmp_path: Path) -> None:
    adapter = put_adapter(tmp_path / "Lora", base)
    recipe = write_recipe(
        tmp_path / "Lora.yaml", source=str(base), adapter=str(adapter), license="mit", to=f"folder:{tmp_path / 'out'}"
    )
    words = ["convert", "--recipe", recipe, "--work", tmp_path / "work"]
    (adapter / "adapter_config.json").write_text((adapter / "adapter_config.json").read_text().replace("acme/", ""))
    user.run(*words)
    before = weights(tmp_path / "work/Lora/4bit")
    assert "convert Lora · 4bit: unchanged" in user.run(*words).text
    tensors = read_tensors(adapter / "adapter_model.safetensors")
    write_tensors(adapter / "adapter_model.safetensors", {name: values * 2 for name, values in tensors.items()})
    user.run(*words)
    assert weights(tmp_path / "work/Lora/4bit") != before


def test_an_adapter_of_mlx_lm_for_other_layers_is_refused_before_anything_is_read(
    user: User, base: Path, tmp_path: Path
) -> None:
    tensors = {
        "model.layers.9.self_attn.q_proj.lora_a": random(64, 4),
        "model.layers.9.self_attn.q_proj.lora_b": random(4, 64),
    }
    adapter = put_mlx(tmp_path / "Lora", tensors)
    ended = user.run(
        "inspect", "--source", base, "--adapter", adapter, "--license", "mit", "--work", tmp_path / "work", code=1,
    )  # fmt: skip
    assert "model.layers.9.self_attn.q_proj.weight: the adapter changes this parameter" in ended.text
    assert checks(tmp_path / "work/Lora/4bit", "inspect")["adapter-placed"] == "fail"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def ada(hub: Hub, tmp_path: Path) -> User:
    return User(tmp_path / "home", hub, "write")


def test_both_are_pinned_named_and_rebuilt(hub: Hub, ada: User, base: Path, tmp_path: Path) -> None:
    commit = hub.put("acme/Tiny", files(base))
    adapter = put_adapter(tmp_path / "Lora", base)
    (adapter / "LICENSE").write_text("terms of the adapter\n")
    own = hub.put("ada/Lora", files(adapter))
    recipe = write_recipe(
        tmp_path / "Lora.yaml", source="acme/Tiny", adapter="ada/Lora", to="lab/{source}-MLX-{variant}",
        license="gemma", variants=["4bit"],
    )  # fmt: skip
    said = ada.run("pin", recipe).text
    assert f"the default branch → {commit}" in said
    assert f"adapter: the default branch → {own}" in said
    assert f"adapter_revision: {own}" in recipe.read_text()
    ada.run("run", "--recipe", recipe, "--work", tmp_path / "work")
    variant = tmp_path / "work/Lora/4bit"
    evidence = read_json(variant / "evidence.json")
    assert evidence["adapter"] == {
        "name": "Lora", "repo": "ada/Lora", "identity": own, "kind": "lora", "maker": "peft", "rank": 4, "tensors": 4,
        "licence": "gemma",
    }  # fmt: skip
    card = (variant / "model/README.md").read_text()
    assert "base_model:\n- acme/Tiny\n- ada/Lora\nbase_model_relation: merge\n" in card
    assert f"--adapter ada/Lora --adapter-revision {own}" in card
    assert "with the adapter [ada/Lora](https://huggingface.co/ada/Lora) fused in" in card.replace("\n", " ")
    assert (variant / "model/LICENSE-adapter").read_text() == "terms of the adapter\n"
    ada.run("upload", "--recipe", recipe, "--work", tmp_path / "work")
    assert "is what its evidence says" in ada.run("verify", "lab/Lora-MLX-4bit", "--rebuild").text


def test_a_branch_of_the_adapter_is_resolved_once(hub: Hub, ada: User, base: Path, tmp_path: Path) -> None:
    hub.put("acme/Tiny", files(base))
    adapter = put_adapter(tmp_path / "Lora", base)
    own = hub.put("ada/Lora", files(adapter))
    words = ["--source", "acme/Tiny", "--adapter", "ada/Lora", "--work", tmp_path / "work"]
    said = ada.run("inspect", *words).text
    assert f"the default branch of ada/Lora is commit {own}" in said
    assert f"add --adapter-revision {own}" in said
    hub.put("ada/Lora", {"adapter_model.safetensors": b"broken"})
    ada.run("smoke", *words)
    made = dict(reports(tmp_path / "work/Lora/4bit"))
    assert [made[stage]["inputs"]["adapter"] for stage in ("inspect", "convert", "smoke")] == [own, own, own]


def test_drift_looks_at_the_adapter_too(hub: Hub, ada: User, base: Path, tmp_path: Path) -> None:
    commit = hub.put("acme/Tiny", files(base))
    own = hub.put("ada/Lora", files(put_adapter(tmp_path / "Lora", base)))
    (ada.home / "recipes").mkdir(parents=True)
    write_recipe(
        ada.home / "recipes/Lora.yaml", source="acme/Tiny", revision=commit, adapter="ada/Lora", adapter_revision=own
    )
    assert "1 source at its head" in ada.run("drift").text
    hub.put("ada/Lora", {"adapter_model.safetensors": b"newer"})
    said = ada.run("drift").text
    assert "ada/Lora" in said
    assert "weights" in said


def test_a_source_that_is_an_adapter_says_what_to_write(hub: Hub, ada: User, base: Path, tmp_path: Path) -> None:
    hub.put("ada/Lora", files(put_adapter(tmp_path / "Lora", base)))
    said = ada.run("inspect", "--source", "ada/Lora", "--work", tmp_path / "work", code=1).text
    assert "Write 'source: acme/Tiny' and 'adapter: ada/Lora' into the recipe." in said
