"""What inspect says of an adapter: every tensor has its place in the base, or the adapter is refused by its name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from headers import COMMIT, Tensors, facts, failures, find, judge, weight_bytes
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.model.files import MemoryFiles
from mlx_publish.model.fused_files import FusedFiles
from mlx_publish.model.metadata import Metadata

Q = "model.layers.0.self_attn.q_proj"
P = "base_model.model."
BASE: Tensors = {
    "model.embed_tokens.weight": ("BF16", (256, 128)),
    "lm_head.weight": ("BF16", (256, 128)),
    f"{Q}.weight": ("BF16", (128, 128)),
    "model.layers.0.mlp.up_proj.weight": ("BF16", (256, 128)),
    "model.norm.weight": ("BF16", (128,)),
}
PAIR: Tensors = {f"{P}{Q}.lora_A.weight": ("F32", (4, 128)), f"{P}{Q}.lora_B.weight": ("F32", (128, 4))}
PEFT: dict[str, object] = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "acme/Tiny"}
MLX: dict[str, object] = {
    "fine_tune_type": "lora",
    "lora_parameters": {"rank": 4, "scale": 2.0, "dropout": 0.0},
    "model": "acme/Tiny",
}
CARD = b"---\nlicense: mit\n---\n"


def adapted(
    tensors: Tensors | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    whole: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
    base: Tensors = BASE,
    base_config: Mapping[str, Any] | None = None,
    name: str = "adapter_model.safetensors",
    **recipe: Any,
) -> SourceFacts:
    """A good base with a good adapter, but for what is given."""
    found = facts(tensors=base, config=base_config, **{"adapter": "acme/Lora", "adapter_revision": COMMIT} | recipe)
    content = {
        "adapter_config.json": json.dumps(whole if whole is not None else {**PEFT, **(config or {})}).encode(),
        name: weight_bytes(PAIR if tensors is None else tensors),
        "README.md": CARD,
        **(files or {}),
    }
    return replace(found, source=Metadata(FusedFiles(found.source.files, MemoryFiles(content))))


def said(found: SourceFacts, check: str) -> str:
    finding = find(check, found)
    assert finding.status == "fail", finding
    return f"{finding.message} {finding.remedy}"


def test_a_source_without_an_adapter_has_none_of_these_checks() -> None:
    assert not [check for check in judge(facts()) if check.startswith("adapter-")]


def test_a_good_adapter_passes_and_its_place_is_told() -> None:
    found = adapted()
    assert failures(found) == []
    assert find("adapter-placed", found).message == "all 2 tensors of rank 4 have their places in 1 weights"
    assert find("adapter-form", found).message == "LoRA of PEFT"


@pytest.mark.parametrize(
    "kind",
    [
        "LOHA",
        "LOKR",
        "IA3",
        "PREFIX_TUNING",
        "PROMPT_TUNING",
        "VERA",
        "OFT",
        "BOFT",
        "ADALORA",
        "HRA",
        "XLORA",
        "LN_TUNING",
    ],
)
def test_other_kinds_of_adapters_are_refused_by_their_name(kind: str) -> None:
    assert f"the adapter is {kind}; LoRA and DoRA can be fused" in said(
        adapted(config={"peft_type": kind}), "adapter-form"
    )


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"layer_replication": [[0, 1], [0, 1]]}, "repeats layers"),
        ({"alora_invocation_tokens": [1]}, "acts on the tokens behind an invocation alone"),
        ({"use_qalora": True}, "pools its input"),
        ({"init_lora_weights": "pissa_niter_4"}, "path_initial_model_for_weight_conversion"),
        ({"init_lora_weights": "olora"}, "begins with olora"),
        ({"r": 0}, "has the rank 0"),
        ({"r": True}, "has the rank True"),
        ({"r": 1 << 40}, "possible are 1 to 8,192"),
        ({"lora_alpha": float("inf")}, "has lora_alpha inf"),
        ({"lora_alpha": "8"}, "has lora_alpha 8, which is no scale"),
        ({"rank_pattern": {"(a+)+b": 2}}, "not matched safely"),
        ({"rank_pattern": {"[": 2}}, "wrong pattern in rank_pattern"),
        ({"rank_pattern": 3}, "no list of patterns"),
        ({"trainable_token_indices": [1, 1]}, "ids, each once"),
        ({"use_folding": True}, "has use_folding, which is not known here"),
        ({"gate_config": {"top": 2}}, "has gate_config, which is not known here"),
    ],
)
def test_what_cannot_be_fused_is_refused_with_the_reason(config: dict[str, object], words: str) -> None:
    assert words in said(adapted(config=config), "adapter-form")


def test_a_pickle_is_not_read() -> None:
    found = adapted(name="adapter_model.bin")
    assert "adapter_model.bin can run code when it is loaded" in said(found, "adapter-form")
    assert "safe_serialization" in said(found, "adapter-form")


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (
            {**PAIR, f"{P}model.layers.7.x.lora_A.weight": ("F32", (4, 8))},
            "model.layers.7.x.lora_A.weight: has no lora_B",
        ),
        (
            {
                f"{P}model.layers.7.q.lora_A.weight": ("F32", (4, 8)),
                f"{P}model.layers.7.q.lora_B.weight": ("F32", (8, 4)),
            },
            "adapts model.layers.7.q.weight, and the base has no such tensor",
        ),
        ({**PAIR, f"{P}model.strange": ("F32", (4,))}, "adapts model.strange, and the base has no such tensor"),
        ({**PAIR, f"{P}{Q}.lora_A.weight": ("F32", (4, 64))}, "[4, 64] and [128, 4]"),
        ({**PAIR, f"{P}{Q}.lora_A.weight": ("F32", (8, 128))}, "the rank that adapter_config.json says is 4"),
        ({**PAIR, f"{P}{Q}.lora_A.weight": ("I32", (4, 128))}, "is stored as I32"),
        ({**PAIR, f"{P}{Q}.lora_A.weight": ("F32", (4, 128, 1, 1))}, "something else than a matrix"),
        ({**PAIR, f"{P}{Q}.lora_A.other.weight": ("F32", (4, 128))}, "of two adapters in one file"),
        ({**PAIR, f"{P}{Q}.lora_magnitude_vector": ("F32", (7,))}, "has 7 numbers for 128 rows"),
        ({**PAIR, f"{P}model.norm.weight": ("F32", (64,))}, "has the shape [64], and the base's tensor [128]"),
        (
            {**PAIR, f"{P}model.embed_tokens.weight": ("F32", (300, 128))},
            "the embedding 300 rows, and the output head has 256",
        ),
        ({**PAIR, f"{P}model.embed_tokens.token_adapter.trainable_tokens_delta": ("F32", (1, 128))}, "has no ids"),
        ({}, "holds no tensors"),
    ],
)
def test_a_tensor_without_a_place_refuses_the_adapter(tensors: Tensors, words: str) -> None:
    assert words in said(adapted(tensors), "adapter-placed")


@pytest.mark.parametrize(
    "name",
    [
        f"{P}{Q}",
        f"{P}model.language_model.layers.0.self_attn.q_proj",
        f"{P}language_model.{Q}",
        Q,
        f"{P}_orig_mod.{Q}",
    ],
)
@pytest.mark.parametrize("end", ["lora_{}.weight", "lora_{}.default.weight"])
def test_names_of_wrapped_models_and_of_adapters_are_found(name: str, end: str) -> None:
    tensors: Tensors = {f"{name}.{end.format('A')}": ("F32", (4, 128)), f"{name}.{end.format('B')}": ("F32", (128, 4))}
    found = adapted(tensors)
    assert failures(found) == []
    assert found.source.fusing is not None
    assert [change.name for change in found.source.fusing.changes] == [f"{Q}.weight"]


def test_one_expert_of_experts_that_the_base_stacks_is_part_of_them() -> None:
    base: Tensors = {**BASE, "model.layers.0.mlp.experts.gate_up_proj": ("BF16", (4, 64, 128))}
    name = f"{P}model.layers.0.mlp.experts.3.up_proj"
    found = adapted({f"{name}.lora_A.weight": ("F32", (4, 128)), f"{name}.lora_B.weight": ("F32", (32, 4))}, base=base)
    assert found.source.fusing is not None
    [change] = found.source.fusing.changes
    [update] = change.updates
    assert (change.name, update.first, update.rows) == ("model.layers.0.mlp.experts.gate_up_proj", 3 * 64 + 32, 32)


def test_square_experts_of_an_old_peft_are_not_guessed() -> None:
    base: Tensors = {**BASE, "model.layers.0.mlp.experts.down_proj": ("BF16", (2, 64, 64))}
    name, target = f"{P}model.layers.0.mlp.experts", {"target_parameters": ["mlp.experts.down_proj"]}
    tensors: Tensors = {f"{name}.lora_A.weight": ("F32", (8, 64)), f"{name}.lora_B.weight": ("F32", (64, 8))}
    assert "square experts" in said(adapted(tensors, base=base, config=target), "adapter-placed")
    assert failures(adapted(tensors, base=base, config={**target, "peft_version": "0.21.2"})) == []


EXPERTS: Tensors = {
    **BASE,
    "model.layers.0.mlp.experts.gate_up_proj": ("BF16", (4, 96, 128)),
    "model.layers.0.mlp.experts.down_proj": ("BF16", (4, 128, 48)),
    "model.layers.0.mlp.gate.weight": ("BF16", (4, 128)),
}


def test_parameters_that_are_named_without_their_module_are_those_of_the_modules_that_have_them() -> None:
    """PEFT writes `target_modules="all-linear"` of a mixture of experts so."""
    experts, gate = f"{P}model.layers.0.mlp.experts", f"{P}model.layers.0.mlp.gate"
    tensors: Tensors = {
        **PAIR,
        f"{experts}.base_layer.lora_A.weight": ("F32", (32, 128)),
        f"{experts}.base_layer.lora_B.weight": ("F32", (96, 32)),
        f"{experts}.lora_A.weight": ("F32", (16, 48)),
        f"{experts}.lora_B.weight": ("F32", (128, 16)),
        f"{gate}.lora_A.weight": ("F32", (4, 128)),
        f"{gate}.lora_B.weight": ("F32", (4, 4)),
    }
    named = {
        "target_parameters": ["gate.weight", "down_proj", "gate_up_proj"],
        "rank_pattern": {r".*\.gate_up_proj": 8},
    }
    found = adapted(tensors, base=EXPERTS, config=named)
    assert failures(found) == []
    assert found.source.fusing is not None
    assert sorted(change.name for change in found.source.fusing.changes) == sorted(
        name for name in EXPERTS if "experts" in name or "gate.weight" in name or name == f"{Q}.weight"
    )


def test_what_peft_saves_of_a_resized_embedding_that_was_trained_is_one_tensor() -> None:
    """`modules_to_save` and a new vocabulary: the trained tensor under two names, and the base's."""
    tensors: Tensors = {
        f"{P}{module}{inner}.weight": ("BF16", (260, 128))
        for module in ("lm_head", "model.embed_tokens")
        for inner in ("", ".modules_to_save", ".original_module")
    }
    found = adapted({**PAIR, **tensors})
    assert failures(found) == []
    assert found.source.fusing is not None
    assert {change.name: change.instead for change in found.source.fusing.changes if change.instead} == {
        name: f"{P}{name}" for name in ("lm_head.weight", "model.embed_tokens.weight")
    }


def test_two_different_tensors_in_one_place_are_refused() -> None:
    tensors: Tensors = {
        f"{P}lm_head.weight": ("BF16", (256, 128)),
        f"{P}lm_head.modules_to_save.weight": ("F32", (256, 128)),
    }
    assert "is one of two tensors in the place of lm_head.weight" in said(adapted(tensors), "adapter-placed")


def test_the_base_s_own_tensor_alone_is_not_taken_for_a_trained_one() -> None:
    assert "lm_head.original_module.weight" in said(
        adapted({f"{P}lm_head.original_module.weight": ("BF16", (256, 128))}), "adapter-placed"
    )


TWO_LAYERS: Tensors = {**BASE, "model.layers.1.self_attn.q_proj.weight": ("BF16", (128, 128))}


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"target_modules": ["q_proj", "up_proj"]}, "model.layers.1.self_attn.q_proj"),
        ({"target_modules": ["q_proj"], "layers_to_transform": [0], "modules_to_save": ["lm_head"]}, "lm_head"),
        ({"modules_to_save": ["score", "norm"]}, "norm"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices"),
    ],
)
def test_what_the_config_says_was_trained_and_the_file_lacks_is_told(config: dict[str, object], named: str) -> None:
    finding = find("adapter-placed", adapted(config=config, base=TWO_LAYERS))
    assert finding.status == "warn"
    assert f"adapter_config.json names {named}, of which the adapter has no tensors" in finding.message


@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": ["q_proj"], "layers_to_transform": [0]},
        {"target_modules": ["q_proj"], "exclude_modules": ["model.layers.1.self_attn.q_proj"]},
        {"target_modules": "all-linear", "modules_to_save": ["classifier"]},
        {"target_modules": r".*\.0\..*q_proj", "modules_to_save": None},
    ],
)
def test_what_was_not_to_be_trained_is_not_missed(config: dict[str, object]) -> None:
    assert find("adapter-placed", adapted(config=config, base=TWO_LAYERS)).status == "pass"


def test_the_base_that_the_adapter_names_is_the_source() -> None:
    found = adapted(config={"base_model_name_or_path": "acme/Other"})
    assert "was trained on acme/Other, and the source is acme/Tiny" in said(found, "adapter-base")
    accepted = adapted(
        config={"base_model_name_or_path": "acme/Other"}, accept=[{"check": "adapter-base", "reason": "a mirror"}]
    )
    assert find("adapter-base", accepted).status == "warn"
    assert find("adapter-base", adapted(config={"base_model_name_or_path": "Acme/tiny"})).status == "pass"
    path = find("adapter-base", adapted(config={"base_model_name_or_path": "/home/ada/secret/model"}))
    assert path.status == "warn"
    assert "secret" not in path.message


def test_the_revision_of_the_base_that_the_adapter_names_is_the_source_s() -> None:
    other = "b" * 40
    assert f"on commit {other} of its base" in said(adapted(config={"revision": other}), "adapter-base")
    assert find("adapter-base", adapted(config={"revision": COMMIT})).status == "pass"
    assert find("adapter-base", adapted(config={"revision": "v2"})).status == "warn"


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [
        ("F32", b"\x00\x00\xc0\x7f"),
        ("F32", b"\x00\x00\x80\xff"),
        ("BF16", b"\xc0\x7f"),
        ("F16", b"\x00\x7c"),
        ("F16", b"\x01\xfe"),
    ],
)
def test_numbers_that_are_none_are_refused(dtype: str, bits: bytes) -> None:
    data = weight_bytes({name: (dtype, shape) for name, (_, shape) in PAIR.items()})
    broken = data[: -len(bits)] + bits
    found = adapted(files={"adapter_model.safetensors": broken})
    assert f"NaN or infinity, as in {P}{Q}.lora_B.weight" in said(found, "adapter-numbers")


def test_an_adapter_that_was_not_trained_is_told() -> None:
    assert "zero everywhere" in find("adapter-numbers", adapted()).message


def test_a_scale_of_zero_is_told() -> None:
    finding = find("adapter-numbers", adapted(config={"lora_alpha": 0}))
    assert finding.status == "warn"
    assert "a scale of 0 (lora_alpha)" in finding.message


def test_a_chat_template_of_the_adapter_is_not_called_a_tokenizer() -> None:
    finding = find("adapter-tokenizer", adapted(files={"chat_template.jinja": b"{{ messages }}"}))
    assert finding.status == "warn"
    assert finding.message.startswith("the chat template is the adapter's")


def test_the_tokenizer_of_the_adapter_takes_the_place_of_the_base_s() -> None:
    assert find("adapter-tokenizer", adapted()).status == "pass"
    found = adapted(files={"chat_template.jinja": b"{{ messages[0]['content'] }}"})
    assert find("adapter-tokenizer", found).status == "warn"
    assert "chat_template.jinja" in find("adapter-tokenizer", found).message
    assert found.source.files.read("tokenizer.json") == facts().source.files.read("tokenizer.json")
    own = adapted(files={"tokenizer.model": b"other"})
    assert "tokenizer.json" not in own.source.entries


def test_legal_texts_of_both_travel() -> None:
    found = adapted(files={"LICENSE": b"other terms", "NOTICE.txt": b"notice"})
    texts = {path: found.source.files.read(path) for path in found.source.legal.texts}
    assert texts == {"LICENSE": b"do what you like", "LICENSE-adapter": b"other terms", "NOTICE-adapter.txt": b"notice"}
    assert set(texts) <= found.source.needed


@pytest.mark.parametrize(
    ("base", "own", "status"),
    [
        ("mit", "mit", "pass"),
        ("llama3.1", "apache-2.0", "pass"),
        ("mit", "gemma", "pass"),
        ("llama3.1", "gemma", "fail"),
        ("mit", None, "fail"),
    ],
)
def test_licences_that_do_not_fit_are_asked_for(base: str, own: str | None, status: str) -> None:
    card = f"---\n{f'license: {own}' if own else 'tags: [a]'}\n---\n".encode()
    found = adapted(files={"README.md": card})
    files = found.source.files
    assert isinstance(files, FusedFiles)
    assert isinstance(files.base, MemoryFiles)
    of_base = MemoryFiles({**files.base.contents, "README.md": f"---\nlicense: {base}\n---\n".encode()})
    again = replace(found, source=Metadata(FusedFiles(of_base, files.adapter)))
    assert find("adapter-licence", again).status == status


def test_the_stricter_licence_is_the_one_that_is_stated() -> None:
    found = adapted(files={"README.md": b"---\nlicense: gemma\n---\n"})
    assert find("licence", found).message == "the licence is gemma"


def test_a_source_that_is_an_adapter_names_its_base_and_what_to_write() -> None:
    config = json.dumps(PEFT | {"base_model_name_or_path": "acme/Base"}).encode()
    lone = {"adapter_config.json": config, "adapter_model.safetensors": weight_bytes(PAIR), "model.safetensors": None}
    for more in ({}, {"config.json": None}):
        found = facts({**lone, **more})
        text = next(f"{one.message} {one.remedy}" for one in judge(found).values() if one.status == "fail")
        assert "the source is an adapter, not a model; its base is acme/Base" in text
        assert "'source: acme/Base' and 'adapter: acme/Tiny'" in text
