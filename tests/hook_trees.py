"""A work tree as somebody has it who publishes many models: recipes, cards, and small files of models."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlx_publish.card.render import render, render_chart
from mlx_publish.card.senses import picture
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.recipes.sections import SmokeTest
from mlx_publish.text.files import json_text
from samples import COMMIT, list_of_checks, make_evidence, rung

CHAT = Path(__file__).parent / "chat"
# What ends a turn in each; of these families are most models that are published, and a repo has many of each.
FAMILIES = {
    "chatml": "<|im_end|>",
    "gemma2": "<end_of_turn>",
    "llama3": "<|eot_id|>",
    "mistral": "</s>",
    "phi3": "<|end|>",
    "qwen3": "<|im_end|>",
    "smollm2": "<|im_end|>",
    "deepseek_r1": "<\uff5cend\u2581of\u2581sentence\uff5c>",
}
RECIPE = """\
# What is published of model {number}.
source: acme/Model-{number}
revision: {commit}
variants:
  - 4bit
  - {{bits: 8, group_size: 32}}
to: lab/{{source}}-MLX-{{variant}}
license: apache-2.0
language: [en, de]
{accept}fidelity:
  tokens: 512
  max_mean_kld: 0.5
card:
  notes: |
    Words of a person about *model {number}*.

    - with a list
"""
ACCEPT = "accept:\n  - check: bits-per-weight\n    reason: the head stays in 8 bits\n"
ENDS = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}


def make_tree(root: Path, count: int) -> dict[str, list[Path]]:
    """Make so many files for each hook, all of them good; returns them by hook."""
    (root / "mlx-publish.yaml").write_text("namespaces: [lab]\nlicenses: [apache-2.0]\nlargest_source: 100 GB\n")
    (root / ".git").mkdir()
    recipes = [write_recipe_of(root, number) for number in range(count)]
    cards = [write_card(root, recipe) for recipe in recipes]
    models = [write_model(root / "models" / f"m{number}", number) for number in range(count)]
    third = max(1, count // 3)
    configs = [path for folder in models[:third] for path in sorted(folder.glob("*config.json"))]
    return {
        "mlx-recipe": recipes,
        "mlx-card": [folder / "README.md" for folder in cards],
        "mlx-chat-template": [folder / "tokenizer_config.json" for folder in models],
        "mlx-model-config": [*configs, *(folder / "config.json" for folder in models[third:])][:count],
    }


def write_recipe_of(root: Path, number: int) -> Path:
    """One recipe in ten lets a check through."""
    path = root / "recipes" / f"model-{number}.yaml"
    path.parent.mkdir(exist_ok=True)
    accept = ACCEPT if number % 10 == 0 else ""
    path.write_text(RECIPE.format(number=number, commit=COMMIT, accept=accept), encoding="utf-8")
    return path


def evidence_of(recipe: str, source: str, **changes: Any) -> dict[str, Any]:
    """What was measured of the first variant of a recipe."""
    name = f"{source.rpartition('/')[2]}-MLX-4bit"
    found = make_evidence(
        recipe=recipe,
        destination={"name": name, "repo": f"lab/{name}"},
        language=["en", "de"],
        ladder=[rung("4bit", 75_700_000, 4.5012, 0.04512), rung("8bit-gs32", 151_000_000, 9.0012, 0.0031)],
    )
    found = copy.deepcopy(found) | {"checks": list_of_checks()}
    asked = SmokeTest()
    found["smoke"]["asked"] = {"system": asked.system, "prompt": asked.prompt}
    found["source"].update(name=source.rpartition("/")[2], repo=source, base_model=source)
    found["ladder"][0] |= {key: found["fidelity"][key] for key in ("mean_kld", "mean_kld_error", "same_first_choice")}
    return found | changes


def write_card(root: Path, path: Path, evidence: Mapping[str, Any] | None = None) -> Path:
    """Put the card of a recipe's first variant where it is reviewed; returns its folder."""
    recipe = recipe_from_file(path, elsewhere=True)
    data = evidence or evidence_of(recipe.name, recipe.spec.source, words=recipe.spec.card.model_dump(mode="json"))
    variant = recipe.variants[0]
    folder = root / "cards" / str(recipe.destinations[variant.label].repo)
    folder.mkdir(parents=True)
    (folder / "evidence.json").write_text(json_text(data), encoding="utf-8")
    (folder / "README.md").write_text(render(recipe, variant, Evidence.of(data)), encoding="utf-8")
    if drawn := render_chart(Evidence.of(data)):
        (folder / "ladder.svg").write_text(drawn, encoding="utf-8")
    if shown := picture(Evidence.of(data)):
        (folder / "picture.png").write_bytes(shown)
    return folder


def write_model(folder: Path, number: int = 0, *, family: str = "") -> Path:
    """The small files of a model as git keeps them; the rest is in git-lfs."""
    folder.mkdir(parents=True)
    family = family or list(FAMILIES)[number % len(FAMILIES)]
    tokens = list(dict.fromkeys((*ENDS.values(), FAMILIES[family])))
    ends = sorted({tokens.index(ENDS["eos_token"]), tokens.index(FAMILIES[family])})
    eos = ends[0] if len(ends) == 1 else ends
    quantization = {"group_size": 64, "bits": 4, "mode": "affine"}
    files: dict[str, Any] = {
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "eos_token_id": eos,
            "hidden_size": 2048,
            "model_type": "llama",
            "quantization": quantization,
            "quantization_config": quantization,
            "vocab_size": 49152,
        },
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": eos},
        "tokenizer_config.json": {
            "added_tokens_decoder": {str(id_): {"content": text, "special": True} for id_, text in enumerate(tokens)},
            **ENDS,
            "chat_template": (CHAT / f"{family}.jinja").read_text(encoding="utf-8"),
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    }
    for name, data in files.items():
        (folder / name).write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder
