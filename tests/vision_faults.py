"""Faults of vision-language models as somebody publishes them: what is missing, damaged, or not what config.json says.

Each is a change of one file of a whole, tiny model. tests/vision_slips.py has those of a conversion.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensor_file import bfloat16, float32, read_tensors, write_tensors

Tensors = dict[str, NDArray[Any]]
Change = Callable[[Path], object]
WEIGHTS, CONFIG, IMAGES = "model.safetensors", "config.json", "preprocessor_config.json"
PROJECTOR = "model.connector.modality_projection.proj.weight"
TOWER = "model.vision_model."
FC1 = f"{TOWER}encoder.layers.0.mlp.fc1.weight"
POSITIONS = f"{TOWER}embeddings.position_embedding.weight"
CANARY = "code-of-the-source-ran"
"""A file that code of a model writes into its own folder where it is run."""


@dataclass(frozen=True)
class Fault:
    """One fault: what is told of it, how it is made, and where the kit says what about it."""

    says: str
    change: Change
    stage: str
    """Of the report in which it is told."""
    check: str
    status: str = "fail"
    base: str = "idefics3"


FAULTS: dict[str, Fault] = {}


def fault(
    says: str, stage: str, check: str, status: str = "fail", base: str = "idefics3"
) -> Callable[[Change], Change]:
    """Enter a change under the name of its function."""

    def enter(change: Change) -> Change:
        FAULTS[getattr(change, "__name__", says).strip("_")] = Fault(says, change, stage, check, status, base)
        return change

    return enter


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON object in place."""
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    change(content)
    (folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")


def put(folder: Path, name: str, **keys: object) -> None:
    """Set keys of a JSON object; `a__b` is the key b of the object a."""

    def change(content: dict[str, Any]) -> None:
        for path, value in keys.items():
            *parents, key = path.split("__")
            place = content
            for parent in parents:
                place = place[parent]
            place[key] = value

    edit(folder, name, change)


def without(folder: Path, name: str, key: str) -> None:
    """Remove a key of a JSON object."""
    edit(folder, name, lambda content: content.pop(key))


def reweigh(folder: Path, change: Callable[[Tensors], object]) -> None:
    """Change the tensors; numbers of bfloat16 are their bits."""
    tensors = read_tensors(folder / WEIGHTS)
    change(tensors)
    write_tensors(folder / WEIGHTS, tensors)


def whole(folder: Path) -> None:
    """Let a random model say nothing but text: special tokens, and rows without a token, are never the likeliest."""
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    special = [token["id"] for token in content["added_tokens"] if token["special"]]
    tokens = len(content["model"]["vocab"])

    def change(tensors: Tensors) -> None:
        name = next((name for name in tensors if name.endswith("lm_head.weight")), None)
        name = name or next(name for name in tensors if name.endswith("embed_tokens.weight"))
        rows = tensors[name].copy()
        rows[tokens:] = rows[special] = 0
        tensors[name] = rows

    reweigh(folder, change)


def large(folder: Path) -> None:
    """Give a weight of the tower one number that bfloat16 holds and float16 does not."""
    reweigh(folder, lambda tensors: _with(tensors, FC1, _one(1e5)))


BASES: Mapping[str, tuple[str, Change]] = {"large": ("idefics3", large)}
"""Models that are others with a change, by name."""


def made(models: Path, base: str, to: Path) -> Path:
    """Copy a tiny model, and make it whole, once."""
    if not to.exists():
        name, change = BASES.get(base, (base, whole))
        shutil.copytree(models / name, to)
        whole(to)
        change(to)
    return to


def _with(tensors: Tensors, name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    tensors[name] = bfloat16(change(float32(tensors[name]).copy()))


def _one(value: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    def change(values: NDArray[Any]) -> NDArray[Any]:
        values.flat[7] = value
        return values

    return change


def _bits(tensors: Tensors, name: str, bits: int) -> None:
    changed = tensors[name].copy()
    changed.flat[7] = bits
    tensors[name] = changed


@fault("the projector's tensor is missing", "convert", "builds")
def projector_missing(folder: Path) -> None:
    reweigh(folder, lambda tensors: tensors.pop(PROJECTOR))


@fault("one layer of the tower is missing", "convert", "builds")
def tower_layer_missing(folder: Path) -> None:
    reweigh(folder, lambda t: [t.pop(name) for name in [*t] if f"{TOWER}encoder.layers.1." in name])


@fault("one bias of the tower is missing", "convert", "builds")
def tower_bias_missing(folder: Path) -> None:
    reweigh(folder, lambda tensors: tensors.pop(FC1.replace("weight", "bias")))


@fault("the whole tower is missing, config.json still names it", "convert", "builds")
def tower_missing(folder: Path) -> None:
    reweigh(folder, lambda t: [t.pop(name) for name in [*t] if name.startswith((TOWER, "model.connector"))])


@fault("a matrix of the tower lies the other way round", "convert", "builds")
def tower_transposed(folder: Path) -> None:
    reweigh(folder, lambda t: t.update({FC1: np.ascontiguousarray(t[FC1].T)}))


@fault("position embeddings of a tower for larger pictures", "convert", "builds")
def positions_of_another_size(folder: Path) -> None:
    reweigh(folder, lambda t: t.update({POSITIONS: np.concatenate([t[POSITIONS], t[POSITIONS][:9]])}))


@fault("a tensor of the tower that no class knows", "convert", "tensors-accounted")
def unknown_tensor(folder: Path) -> None:
    reweigh(folder, lambda t: t.update({f"{TOWER}adapter.weight": t[FC1]}))


@fault("NaN in a weight of the tower", "convert", "numbers-finite")
def tower_nan(folder: Path) -> None:
    reweigh(folder, lambda tensors: _bits(tensors, FC1, 0x7FC0))


@fault("infinity in the projector", "convert", "numbers-finite")
def projector_infinite(folder: Path) -> None:
    reweigh(folder, lambda tensors: _bits(tensors, PROJECTOR, 0x7F80))


@fault("the projector is zero all over", "convert", "weights-alive")
def projector_zero(folder: Path) -> None:
    reweigh(folder, lambda t: t.update({PROJECTOR: np.zeros_like(t[PROJECTOR])}))


@fault("a number of the tower that float16, the type in config.json, cannot hold", "smoke", "picture-answers", "warn")
def too_large_for_float16(folder: Path) -> None:
    def change(tensors: Tensors) -> None:
        for name in tensors:
            tensors[name] = float32(tensors[name])
        tensors[FC1] = _one(1e6)(tensors[FC1].copy())

    reweigh(folder, change)
    put(folder, CONFIG, torch_dtype="float16")


@fault("the tower's weights as integers, without their scales", "inspect", "weights-numbers")
def tower_of_integers(folder: Path) -> None:
    reweigh(folder, lambda t: t.update({FC1: (float32(t[FC1]) * 64).astype(np.int8)}))


@fault("text weights of another model: a larger vocabulary", "convert", "builds")
def text_of_another_model(folder: Path) -> None:
    name = "model.text_model.embed_tokens.weight"
    reweigh(folder, lambda t: t.update({name: np.concatenate([t[name], t[name][:64]])}))


@fault("a second file with other values under the same names", "inspect", "one-weight-set", "warn")
def tensors_twice(folder: Path) -> None:
    tensors = {name: np.zeros_like(bits) for name, bits in read_tensors(folder / WEIGHTS).items() if TOWER in name}
    write_tensors(folder / "model-extra.safetensors", tensors)


@fault("the index names a file that is not there", "inspect", "weights-present")
def index_names_a_missing_file(folder: Path) -> None:
    where = dict.fromkeys(read_tensors(folder / WEIGHTS), WEIGHTS) | {PROJECTOR: "model-projector.safetensors"}
    content = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content), encoding="utf-8")


@fault("config.json ties the embedding, the head in the weights is another one", "inspect", "twin-equal")
def tied_but_another_head(folder: Path) -> None:
    put(folder, CONFIG, tie_word_embeddings=True, text_config__tie_word_embeddings=True)


# What config.json says


@fault("config.json has no vision part, the weights have a tower", "inspect", "model-type")
def config_without_vision(folder: Path) -> None:
    without(folder, CONFIG, "vision_config")


@fault("`vision_config: null`", "inspect", "model-type")
def vision_null(folder: Path) -> None:
    put(folder, CONFIG, vision_config=None)


@fault("`vision_config: {}`, so that the library's default sizes hold", "inspect", "model-type")
def vision_empty(folder: Path) -> None:
    put(folder, CONFIG, vision_config={})


@fault("`vision_config` is a text", "inspect", "config-values")
def vision_text(folder: Path) -> None:
    put(folder, CONFIG, vision_config="siglip")


@fault("more layers in vision_config than in the weights", "convert", "builds")
def vision_more_layers(folder: Path) -> None:
    put(folder, CONFIG, vision_config__num_hidden_layers=3)


@fault("fewer layers in vision_config than in the weights", "convert", "tensors-accounted")
def vision_fewer_layers(folder: Path) -> None:
    put(folder, CONFIG, vision_config__num_hidden_layers=1)


@fault("another patch size in vision_config", "convert", "builds")
def vision_patch(folder: Path) -> None:
    put(folder, CONFIG, vision_config__patch_size=7)


@fault("another image size in vision_config than the position embeddings have", "convert", "builds")
def vision_size(folder: Path) -> None:
    put(folder, CONFIG, vision_config__image_size=112)


@fault("a tower with a billion layers in vision_config", "inspect", "config-values")
def vision_hostile(folder: Path) -> None:
    put(folder, CONFIG, vision_config__num_hidden_layers=10**9)


@fault("another scale_factor than the projector's width", "convert", "builds")
def projector_scale(folder: Path) -> None:
    put(folder, CONFIG, scale_factor=1)


@fault("an audio_config, and no tensor that hears", "inspect", "modality-weights")
def audio_claimed(folder: Path) -> None:
    put(folder, CONFIG, audio_config={"model_type": "whisper", "hidden_size": 64})


@fault("image_token_id is off by one", "inspect", "sense-tokens")
def image_token_off_by_one(folder: Path) -> None:
    put(folder, CONFIG, image_token_id=5)


@fault("image_token_id outside of the vocabulary", "inspect", "sense-tokens")
def image_token_outside(folder: Path) -> None:
    put(folder, CONFIG, image_token_id=100_000)


@fault("no image_token_id", "smoke", "picture-answers")
def image_token_absent(folder: Path) -> None:
    without(folder, CONFIG, "image_token_id")


# Tokenizer and template


@fault("the tokenizer does not know the image token", "smoke", "picture-slots")
def image_token_unknown(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = folder / name
        path.write_text(path.read_text(encoding="utf-8").replace('"<image>"', '"<picture>"'), encoding="utf-8")


@fault("the tokenizer cuts the image token into letters", "convert", "tokenizer-ids")
def image_token_cut(folder: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] != "<image>"]

    edit(folder, "tokenizer.json", change)
    edit(folder, "tokenizer_config.json", lambda content: content["added_tokens_decoder"].pop("4"))


@fault("the chat template leaves pictures out in silence", "smoke", "picture-answers")
def template_without_slot(folder: Path) -> None:
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text(encoding="utf-8").replace("{{ '<image>' }}", ""), encoding="utf-8")


@fault("the chat template writes two slots for a picture", "smoke", "picture-answers")
def template_with_two_slots(folder: Path) -> None:
    path = folder / "chat_template.jinja"
    text = path.read_text(encoding="utf-8").replace("{{ '<image>' }}", "{{ '<image><image>' }}")
    path.write_text(text, encoding="utf-8")


@fault("no chat template", "inspect", "chat-template", "warn")
def template_missing(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


# The processor's files


@fault("preprocessor_config.json is missing", "inspect", "processor-files")
def processor_missing(folder: Path) -> None:
    (folder / IMAGES).unlink()


@fault("preprocessor_config.json ends in its middle", "inspect", "readable")
def processor_cut(folder: Path) -> None:
    content = (folder / IMAGES).read_text(encoding="utf-8")
    (folder / IMAGES).write_text(content[: len(content) // 2], encoding="utf-8")


@fault("preprocessor_config.json is a list", "inspect", "readable")
def processor_list(folder: Path) -> None:
    (folder / IMAGES).write_text("[]", encoding="utf-8")


@fault("a deviation of 0", "inspect", "processor-files")
def deviation_zero(folder: Path) -> None:
    put(folder, IMAGES, image_std=[0.5, 0.0, 0.5])


@fault("mean and deviation as of 255, with pictures scaled to 1", "inspect", "processor-files", "warn")
def mean_of_255(folder: Path) -> None:
    put(folder, IMAGES, image_mean=[127.5] * 3, image_std=[127.5] * 3)


@fault("a mean for four channels", "inspect", "processor-files")
def mean_of_four(folder: Path) -> None:
    put(folder, IMAGES, image_mean=[0.5] * 4)


@fault("pictures are not normalized at all", "smoke", "picture-answers")
def not_normalized(folder: Path) -> None:
    put(folder, IMAGES, do_normalize=False, do_rescale=False)


@fault("tiles of another size than the tower's", "inspect", "processor-agrees")
def processor_size(folder: Path) -> None:
    put(folder, IMAGES, max_image_size={"longest_edge": 112}, size={"longest_edge": 224})


@fault("a resampling filter that Pillow does not have", "inspect", "processor-files")
def processor_resample(folder: Path) -> None:
    put(folder, IMAGES, resample=17)


@fault("pictures of 10^9 pixels on an edge", "inspect", "processor-files")
def processor_hostile(folder: Path) -> None:
    put(folder, IMAGES, size={"longest_edge": 10**9})


@fault("10^9 tokens for a picture in processor_config.json", "inspect", "processor-files")
def tokens_hostile(folder: Path) -> None:
    put(folder, "processor_config.json", image_seq_len=10**9)


@fault("other tokens for a picture than the projector gives", "inspect", "processor-agrees")
def tokens_other(folder: Path) -> None:
    put(folder, "processor_config.json", image_seq_len=16)


@fault("the image processor of another family", "smoke", "picture-answers")
def image_processor_of_another_family(folder: Path) -> None:
    put(folder, IMAGES, image_processor_type="SiglipImageProcessor")


@fault("an image processor class that nobody has", "smoke", "picture-answers")
def image_processor_unknown(folder: Path) -> None:
    put(folder, IMAGES, image_processor_type="NobodysImageProcessor")


@fault("a processor as Python beside the weights, named by auto_map", "inspect", "no-code", "warn")
def processor_code(folder: Path) -> None:
    code = f"import pathlib\npathlib.Path(__file__).with_name({CANARY!r}).touch()\n"
    code += f"pathlib.Path({str(folder / CANARY)!r}).touch()\n\n\nclass Processor:\n    pass\n"
    (folder / "processing_own.py").write_text(code, encoding="utf-8")
    named = {"AutoProcessor": "processing_own.Processor", "AutoImageProcessor": "processing_own.Processor"}
    for name in (IMAGES, "processor_config.json", "tokenizer_config.json"):
        put(folder, name, auto_map=named)


@fault("another patch size in the processor than in the tower", "inspect", "processor-agrees", base="qwen3_vl")
def grid_of_another_patch(folder: Path) -> None:
    put(folder, IMAGES, patch_size=14)


@fault("another merge_size than the tower's", "inspect", "processor-agrees", base="qwen3_vl")
def grid_of_another_merge(folder: Path) -> None:
    put(folder, IMAGES, merge_size=1)


@fault("frames of 1 where the tower takes 2 at a time", "inspect", "processor-agrees", base="qwen3_vl")
def grid_of_another_time(folder: Path) -> None:
    put(folder, IMAGES, temporal_patch_size=1)


@fault("10^12 pixels allowed for a picture", "inspect", "processor-files", base="qwen3_vl")
def grid_hostile(folder: Path) -> None:
    put(folder, IMAGES, size={"longest_edge": 10**12, "shortest_edge": 10**12})


@fault("a merger of the deep layers is missing", "convert", "builds", base="qwen3_vl")
def deep_merger_missing(folder: Path) -> None:
    reweigh(folder, lambda t: [t.pop(name) for name in [*t] if "deepstack_merger_list.0." in name])


@fault("a rotary section that does not fill the head", "convert", "twin-equal", base="qwen3_vl")
def sections_of_another_head(folder: Path) -> None:
    put(folder, CONFIG, text_config__rope_scaling__mrope_section=[4, 4, 4])


def told(checks: Mapping[str, str], check: str, status: str) -> bool:
    """Return whether the checks of a stage say it, as it is to be said or more strongly."""
    found = checks.get(check, "")
    return found == status or (status == "warn" and found == "fail")
