"""Whatever strangers write ends in an error of ours with exit code 1 or 2, soon: no exception of Python's, no exit 3.

`MLX_PUBLISH_FUZZ=N` takes N examples of each in place of the few of the ordinary run.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from headers import facts, header_bytes
from hook_trees import make_tree
from mlx_publish.checks.base import run_in_groups
from mlx_publish.checks.source import GROUPS
from mlx_publish.cli import main
from mlx_publish.errors import PublishError
from mlx_publish.evidence.records import to_json
from mlx_publish.github.plan import make_plan, read_event
from mlx_publish.github.request import from_form, from_payload
from mlx_publish.hooks import run_hook
from mlx_publish.hooks.front_matter import faults
from mlx_publish.model.card import parse_card
from mlx_publish.model.files import FolderFiles
from mlx_publish.model.metadata import Metadata
from mlx_publish.model.normalise import normalise_config
from mlx_publish.model.portable import portable
from mlx_publish.model.stopping import complete_stop_ids
from mlx_publish.model.weights import read_header
from mlx_publish.recipes.policy import objections, read_policy
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.stages.inspect_stage import _inspected
from mlx_publish.torch_check.shrink import shrink
from mlx_publish.verify.published import Published
from models import make_model
from mutations import contents, texts
from tiny_tokenizer import build_tokenizer

_EXAMPLES = int(os.environ.get("MLX_PUBLISH_FUZZ", "40"))
fuzz = settings(
    max_examples=_EXAMPLES,
    derandomize="MLX_PUBLISH_FUZZ" not in os.environ,
    deadline=timedelta(seconds=20),
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)
few = settings(fuzz, max_examples=max(3, _EXAMPLES // 10))


def ours(*steps: Callable[[], object]) -> None:
    """Do each step; what goes wrong is an error of ours, short, and no bug."""
    for step in steps:
        error = _error_of(step)
        if error is not None:
            assert error.exit_code in (1, 2), error
            assert len(str(error)) < 10_000, "the whole of what was read is quoted"
            return


def _error_of(step: Callable[[], object]) -> PublishError | None:
    try:
        step()
    except PublishError as error:
        return error
    return None


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


RECIPE = {
    "name": "tiny",
    "source": "acme/Tiny",
    "revision": "0" * 40,
    "base_model": "acme/Tiny",
    "license": "apache-2.0",
    "license_name": "x",
    "license_link": "https://x",
    "language": ["en", "de"],
    "variants": ["4bit", {"bits": 8, "group_size": 32}],
    "to": "lab/{source}-MLX-{variant}",
    "private": False,
    "accept": [{"check": "answers", "reason": "random weights"}],
    "card": {"notes": "words"},
    "smoke": {"prompt": "Hi", "max_tokens": 4, "options": {}},
    "fidelity": {"tokens": 512},
    "benchmark": {"trials": 3, "prompt_tokens": [128]},
    "collection": "lab/x-0123456789abcdef01234567",
}
POLICY = {
    "namespaces": ["lab"],
    "licenses": ["mit"],
    "largest_source": "100 GB",
    "pinned": True,
    "folders": False,
    "keep_days": 3,
}


@fuzz
@given(data=contents(RECIPE), policy=contents(POLICY))
def test_recipes_and_policies(room: Path, data: bytes, policy: bytes) -> None:
    recipe, rules = room / "r.yaml", room / "mlx-publish.yaml"
    recipe.write_bytes(data)
    rules.write_bytes(policy)
    ours(lambda: recipe_from_file(recipe, elsewhere=True), lambda: recipe_from_file(recipe, to="lab/{source}"))
    ours(lambda: read_policy(rules))
    ours(lambda: objections(recipe_from_file(recipe, elsewhere=True), read_policy(rules)))
    ours(lambda: run_hook("mlx-recipe", (recipe,)))


_SCRAPS = st.sampled_from([
    "source: a/b\n", "variants:\n", "  - bits: 4\n", "- ", "  ", "\t", "? a\n", ": b\n", "&a ", "*a ", "<<: *a\n", "!!python/name:os.system ",
    "!!binary x\n", "!!set {a, b}\n", "!x [a, b]\n", "!x {a: b}\n", "!!omap [a: b]\n", "!!pairs [a: b]\n", "!!timestamp 2024-13-40\n", "2024-02-30\n", "[", "]", "{", "}", "'", '"', "|\n", ">\n", "# x\n", "---\n",
    "...\n", "%YAML 1.1\n", "%TAG ! x\n", "0o777\n", "0x" + "f" * 60, "1_000\n", "1:20:30\n", ".inf\n", ".nan\n", "~\n", "\u2028", "\x85", "\ufeff",
    "\x00", "\ud800", "\x07", "a: 1\na: 2\n", "? [a]\n: b\n", "? {a: b}\n: c\n", "'a': !!int 'x'\n", "- - - -\n", "a" * 3000, "9" * 500 + "\n",
])  # fmt: skip


@fuzz
@given(text=st.lists(_SCRAPS, max_size=12).map("".join))
def test_yaml_that_is_none(room: Path, text: str) -> None:
    path = room / "scraps.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    ours(lambda: recipe_from_file(path, elsewhere=True))
    ours(lambda: read_policy(path))
    front = f"---\n{path.read_bytes().decode('utf-8', 'replace')}\n---\n# x\n"
    ours(lambda: parse_card(front), lambda: list(faults(path, front)))


PAYLOAD = {
    "action": "mlx-publish",
    "branch": "main",
    "repository": {"full_name": "lab/models"},
    "client_payload": {
        "source": "acme/Tiny",
        "revision": "main",
        "variants": ["4bit", "8bit"],
        "destination": "lab/{source}",
        "notes": "x",
        "dry_run": True,
        "callback": "c-1",
    },
}
FORM = {
    "inputs": {"source": "acme/Tiny", "variants": "4bit,8bit", "destination": "lab/x", "dry-run": "true", "notes": "x"}
}


@fuzz
@given(
    dispatch=contents(PAYLOAD),
    form=contents(FORM),
    kind=st.sampled_from(["repository_dispatch", "workflow_dispatch", "push"]),
)
def test_payloads(room: Path, dispatch: bytes, form: bytes, kind: str) -> None:
    event = room / "event.json"
    for data in (dispatch, form):
        event.write_bytes(data)
        ours(lambda: make_plan(kind, read_event(event), "refs/tags/tiny/v1", room / "recipes"))


@fuzz
@given(text=texts(PAYLOAD["client_payload"]), fields=texts(FORM["inputs"]))
def test_requests(text: str, fields: str) -> None:
    def loaded(said: str) -> Any:
        try:
            return json.loads(said)
        except (ValueError, RecursionError):
            return {}

    ours(lambda: from_payload(loaded(text)))
    ours(lambda: from_form(loaded(fields) if isinstance(loaded(fields), dict) else {}))


CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 320,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 128, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0}, "rope_parameters": {"rope_theta": 1e4, "rope_type": "yarn", "factor": 4.0},
    "eos_token_id": [2, 3], "bos_token_id": 1, "pad_token_id": None, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "dtype": "bfloat16",
    "max_position_embeddings": 2048, "layer_types": ["full_attention", "sliding_attention"], "sliding_window": 32, "use_sliding_window": True,
    "text_config": {"hidden_size": 64, "eos_token_id": 2, "vocab_size": 320, "rope_parameters": {"full_attention": {"rope_theta": 1e4}}},
    "vision_config": {"hidden_size": 8}, "quantization_config": {"quant_method": "gptq", "bits": 4}, "auto_map": {"AutoModel": "x.Y"},
    "time_step_limit": [0.0, {"__float__": "Infinity"}],
}  # fmt: skip
PLAIN = {
    key: value
    for key, value in CONFIG.items()
    if key not in ("quantization_config", "vision_config", "auto_map", "text_config")
}
TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "eos_token": {"content": "</s>", "special": True},
    "bos_token": "<s>",
    "pad_token": "</s>",
    "added_tokens_decoder": {"0": {"content": "<unk>", "special": True}, "2": {"content": "</s>", "special": True}},
    "auto_map": None,
    "additional_special_tokens": ["<x>"],
    "extra_special_tokens": {"x_token": "<x>"},
    "model_max_length": 10**30,
    "chat_template": None,
}
GENERATION = {"eos_token_id": [2], "bos_token_id": 1, "temperature": 0.6}
TOKENS: dict[str, Any] = json.loads(build_tokenizer(("ab", "cd"), ("<unk>", "<s>", "</s>")).to_str())
TOKENS |= {
    "model": {
        **TOKENS["model"],
        "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4, "ab": 5},
        "merges": [["a", "b"]],
    },
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "Replace", "pattern": {"String": " "}, "content": "_"},
            {"type": "NFC"},
            {"type": "Precompiled", "precompiled_charsmap": "AAAAAAAA"},
        ],
    },
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    },
    "padding": {"strategy": {"Fixed": 8}, "pad_to_multiple_of": 8},
}
INDEX = {
    "metadata": {"total_size": 9},
    "weight_map": {"model.embed_tokens.weight": "model.safetensors", "model.norm.weight": "model.safetensors"},
}


def inspected(files: dict[str, Any]) -> None:
    """Judge a source as `inspect` does, and tell what the report would."""
    found = facts(files)
    findings = run_in_groups(GROUPS, found)
    assert all(len(finding.message) < 3000 for finding in findings)
    json.dumps([finding.message for finding in findings], ensure_ascii=False)
    if all(finding.status != "fail" for finding in findings):
        json.dumps(to_json(_inspected(found)), allow_nan=False)
        config = normalise_config(found.source.config.raw)
        assert config is not None
        shrink(found.source.config.raw)


@fuzz
@given(data=contents(CONFIG), plain=contents(PLAIN))
def test_config(data: bytes, plain: bytes) -> None:
    ours(lambda: inspected({"config.json": data}))
    ours(lambda: inspected({"config.json": plain}))


@fuzz
@given(
    data=contents(TOKENIZER_CONFIG), generation=contents(GENERATION), tokens=contents(TOKENS), which=st.integers(1, 7)
)
def test_tokenizers(data: bytes, generation: bytes, tokens: bytes, which: int) -> None:
    whole = {"tokenizer_config.json": TOKENIZER_CONFIG, "generation_config.json": GENERATION, "tokenizer.json": TOKENS}
    wrong = zip(whole, (data, generation, tokens), strict=True)
    files = {
        name: content if which >> bit & 1 else json.dumps(whole[name]).encode()
        for bit, (name, content) in enumerate(wrong)
    }
    ours(lambda: inspected({"config.json": PLAIN, **files}))
    ours(lambda: portable(files))
    ours(lambda: portable(files, plain=True))

    def stopped() -> None:
        found = Metadata(facts(files).source.files)
        named, known = found.json("tokenizer_config.json") or {}, found.json("tokenizer.json")
        complete_stop_ids(PLAIN, files["generation_config.json"], named, known, "</s>", chat=True)

    ours(stopped)


TENSORS = {
    "__metadata__": {"format": "pt"},
    "model.embed_tokens.weight": {"dtype": "BF16", "shape": [4, 8], "data_offsets": [0, 64]},
    "model.layers.0.mlp.up_proj.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [64, 80]},
}


@fuzz
@given(
    header=contents(TENSORS),
    length=st.sampled_from([None, None, None, 0, 1, 2**31, 2**63, 2**64 - 1]),
    index=contents(INDEX),
)
def test_headers_and_indexes(room: Path, header: bytes, length: int | None, index: bytes) -> None:
    data = (len(header) if length is None else length).to_bytes(8, "little") + header + bytes(80)
    path = room / "model.safetensors"
    path.write_bytes(data)
    ours(lambda: read_header(path))
    ours(lambda: inspected({"model.safetensors": data}))
    ours(lambda: inspected({"model.safetensors.index.json": index, "model.safetensors": header_bytes(TENSORS, 80)}))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("tree")
    made = make_tree(root, 1)
    card = made["mlx-card"][0].parent
    return root, card, json.loads((card / "evidence.json").read_text(encoding="utf-8"))


@fuzz
@given(draw=st.data())
def test_evidence(tree: tuple[Path, Path, dict[str, Any]], draw: st.DataObject) -> None:
    root, card, evidence = tree
    data = draw.draw(contents(evidence))
    (card / "evidence.json").write_bytes(data)
    before = Path.cwd()
    os.chdir(root)
    try:
        ours(lambda: run_hook("mlx-card", (card / "README.md",), recipes=root / "recipes"))
    finally:
        os.chdir(before)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mlx-publish.json").write_bytes(data)
        ours(lambda: Published("x", FolderFiles(folder)).evidence)


FRONT = {
    "license": "apache-2.0",
    "language": ["en"],
    "tags": ["mlx"],
    "base_model": "a/b",
    "library_name": "mlx",
    "pipeline_tag": "text-generation",
    "base_model_relation": "quantized",
    "license_name": "x",
    "license_link": "https://x",
    "model-index": [{"name": "x", "results": []}],
}


@fuzz
@given(data=contents(FRONT))
def test_cards(room: Path, data: bytes) -> None:
    text = f"---\n{data.decode('utf-8', 'replace')}\n---\n# Text\n"
    ours(lambda: list(faults(room / "README.md", text)))
    ours(lambda: inspected({"README.md": text.encode("utf-8", "replace")}))


@fuzz
@given(
    data=contents({**PLAIN, "quantization": {"bits": 4, "group_size": 64, "mode": "affine"}}),
    named=contents(TOKENIZER_CONFIG),
    generation=contents(GENERATION),
    fix=st.booleans(),
)
def test_the_hook_of_models(data: bytes, named: bytes, generation: bytes, fix: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, content in (
            ("config.json", data),
            ("tokenizer_config.json", named),
            ("generation_config.json", generation),
        ):
            (folder / path).write_bytes(content)
        ours(lambda: run_hook("mlx-model-config", (folder / "config.json",), fix=fix))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("whole") / "m", chat_template=None)


@few
@given(
    draw=st.data(),
    name=st.sampled_from(["config.json", "tokenizer_config.json", "generation_config.json", "tokenizer.json"]),
)
def test_whole_commands(model: Path, draw: st.DataObject, name: str) -> None:
    whole = (model / name).read_bytes()
    (model / name).write_bytes(draw.draw(contents(json.loads(whole))))
    try:
        with tempfile.TemporaryDirectory() as work:
            assert main(["inspect", "--source", str(model), "--work", work]) in (0, 1, 2)
            event = Path(work) / "event.json"
            event.write_bytes(draw.draw(contents(PAYLOAD)))
            assert main(["plan", "--event-name", "repository_dispatch", "--event", str(event), "--ref", "x"]) in (0, 2)
    finally:
        (model / name).write_bytes(whole)
