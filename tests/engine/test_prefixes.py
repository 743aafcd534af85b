"""What stands in front of tensors' names: found where it is plain, and nowhere else."""

from __future__ import annotations

import pytest

from mlx_publish.engine.prefixes import prefix_of

LAYER = ("layers.0.input_layernorm.weight", "layers.0.mlp.up_proj.weight")
READ = [*(f"model.{name}" for name in LAYER), "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"]
NESTED = [f"language_model.{name}" for name in READ]


def source(front: str, head: str = "lm_head.weight") -> list[str]:
    return [*(front + name.removeprefix("model.") for name in READ[:-1]), head]


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (source(""), READ),
        (source("transformer."), READ),
        (source("language_model.model.", "language_model.lm_head.weight"), READ),
        (source("model.language_model."), NESTED),
        (source("model.language_model.", "model.language_model.lm_head.weight"), NESTED),
        (source("model."), NESTED),
    ],
)
def test_the_names_are_those_of_the_class_then(names: list[str], read: list[str]) -> None:
    prefix = prefix_of(names, read)
    assert prefix is not None
    assert sorted(map(prefix.renamed, names)) == sorted(read)


def test_other_parts_lose_the_wrapper_around_all() -> None:
    prefix = prefix_of([*source("model.language_model."), "model.vision_tower.layers.0.q.weight"], NESTED)
    assert prefix is not None
    assert prefix.renamed("model.vision_tower.layers.0.q.weight") == "vision_tower.layers.0.q.weight"


@pytest.mark.parametrize(
    "names",
    [
        READ,
        [*source("one."), *source("two.", "two.lm_head.weight")],
        [name.replace("norm", "scale") for name in source("other.")],
        ["embed_tokens.weight"],
        [],
    ],
)
def test_nothing_is_guessed(names: list[str]) -> None:
    assert prefix_of(names, READ) is None


def test_it_says_what_differs() -> None:
    assert str(prefix_of(source(""), READ)) == "names without a prefix where the MLX class reads 'model.'"
    words = "names that begin with 'x.' where the MLX class reads 'model.'"
    assert str(prefix_of(source("x."), READ)) == words
