"""The folder that tests/smollm2.py makes is the model that everybody knows.

conftest.py makes it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

import smollm2
from tensor_file import read_tensors

TEXTS = {
    "Hello, world!": [19556, 28, 905, 17],
    "In 2024 there were 365 days.": [788, 216, 34, 32, 34, 36, 665, 592, 216, 35, 38, 37, 2009, 30],
    "def f(x):\n    return x+1": [1604, 275, 24, 104, 727, 472, 1003, 1792, 27, 33],
    " naïve café — 東京 😀\n\t x": None,
}
LAYER_SHAPES = {
    "input_layernorm": (576,),
    "post_attention_layernorm": (576,),
    "self_attn.q_proj": (576, 576),
    "self_attn.k_proj": (192, 576),
    "self_attn.v_proj": (192, 576),
    "self_attn.o_proj": (576, 576),
    "mlp.gate_proj": (1536, 576),
    "mlp.up_proj": (1536, 576),
    "mlp.down_proj": (576, 1536),
}
FILES = {
    "LICENSE",
    "README.md",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture(scope="session")
def tokenizer(source: Path) -> Tokenizer:
    return Tokenizer.from_file(str(source / "tokenizer.json"))


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


@pytest.mark.slow
def test_the_folder_has_every_file_and_says_where_it_is_from(source: Path) -> None:
    assert {path.name for path in source.iterdir()} >= FILES
    readme = (source / "README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in readme
    assert "Rebuilt from the Q4_1 GGUF file" in readme
    assert "Apache License" in (source / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.slow
def test_config_has_the_classic_form(source: Path) -> None:
    config = read_json(source / "config.json")
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert (config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]) == (576, 30, 49152)
    assert (config["num_attention_heads"], config["num_key_value_heads"]) == (9, 3)
    assert (config["rope_theta"], config["rms_norm_eps"]) == (100000.0, 1e-5)
    assert (config["torch_dtype"], config["tie_word_embeddings"]) == ("bfloat16", True)
    assert config["initializer_range"] == 0.041666666666666664
    generation = read_json(source / "generation_config.json")
    assert {key: generation[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")} == {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }


@pytest.mark.slow
def test_the_weights_are_whole_and_finite_and_the_embeddings_tied(source: Path) -> None:
    tensors = read_tensors(source / "model.safetensors")
    expected = {
        f"model.layers.{layer}.{name}.weight": shape for layer in range(30) for name, shape in LAYER_SHAPES.items()
    }
    expected |= {"model.embed_tokens.weight": (49152, 576), "model.norm.weight": (576,)}
    assert {name: tensor.shape for name, tensor in tensors.items()} == expected
    assert sum(tensor.size for tensor in tensors.values()) == 134_515_008
    # All ones in the exponent of a bfloat16 mean infinity or NaN.
    assert not [name for name, bits in tensors.items() if ((bits & 0x7F80) == 0x7F80).any()]


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
def test_texts_become_known_ids_and_come_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text).ids
    assert ids == (TEXTS[text] or ids)
    assert tokenizer.decode(ids) == text


@pytest.mark.slow
def test_each_special_token_is_one_id(source: Path, tokenizer: Tokenizer) -> None:
    config = read_json(source / "tokenizer_config.json")
    special = {int(id_): entry["content"] for id_, entry in config["added_tokens_decoder"].items()}
    assert list(special) == list(range(17))
    for id_, token in special.items():
        assert tokenizer.encode(f"a{token}b").ids[1:-1] == [id_]


@pytest.mark.slow
def test_the_chat_template_renders_in_transformers(source: Path) -> None:
    from transformers import AutoTokenizer  # noqa: PLC0415, TID251 -- slow to import; what users have

    tokenizer = AutoTokenizer.from_pretrained(source)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert prompt.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert prompt.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert (tokenizer.pad_token, tokenizer.unk_token) == ("<|im_end|>", "<|endoftext|>")


def test_a_folder_that_exists_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert smollm2.main([str(tmp_path)]) == 0
    assert "there already" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("content", "code"), [(None, 2), (b"GGUF but another", 1)])
def test_a_wrong_gguf_file_leaves_nothing_behind(tmp_path: Path, content: bytes | None, code: int) -> None:
    file = tmp_path / "model.gguf"
    if content:
        file.write_bytes(content)
    assert smollm2.main([str(tmp_path / "made" / "source"), "--gguf", str(file)]) == code
    assert not list((tmp_path / "made").iterdir())


@pytest.mark.parametrize(("output", "code"), [("connection refused", 4), ("Hash mismatch for x", 1)])
def test_a_failed_download_has_its_exit_code(output: str, code: int) -> None:
    with pytest.raises(smollm2.SourceError, match=output) as caught:
        smollm2.run_installer([sys.executable, "-c", f"print('{output}'); raise SystemExit(2)"])
    assert caught.value.code == code
