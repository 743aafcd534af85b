"""Slips of a conversion of models that see: of mlx-vlm, of the engine that writes, of the files beside the weights.

    python vision_slips.py NAME LAUNCH WORDS...

runs an engine's child, in the Python with mlx-vlm, in which the slip NAME happens. `python_with` gives a program that
the kit takes for that Python.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

Patch = Callable[[ModuleType], None]
Change = Callable[[Path], None]
WRITER = "mlx_publish.engine.stream"
BACKEND = "mlx_publish.engine.backends.mlx_vlm"
IDEFICS = "mlx_vlm.models.idefics3.idefics3"
IDEFICS_TOWER = "mlx_vlm.models.idefics3.vision"
QWEN_TOWER = "mlx_vlm.models.qwen3_vl.vision"
PIL_IDEFICS = "transformers.models.idefics3.image_processing_pil_idefics3"
QWEN_PROCESSOR = "mlx_vlm.models.qwen3_vl.processing_qwen3_vl"
PROJECTOR = "connector.modality_projection.proj.weight"
FIRST, SECOND = "vision_model.encoder.layers.0.", "vision_model.encoder.layers.1."
FC1 = f"{FIRST}mlp.fc1.weight"


@dataclass(frozen=True)
class Slip:
    """One slip: what is told of it, where it happens, and where the kit says what about it."""

    says: str
    stage: str
    check: str
    base: str
    module: str = ""
    """Whose import in the child is followed by the patch."""
    patch: Patch | None = None
    change: Change | None = None
    """Of the converted folder, after its side files were put into it."""


SLIPS: dict[str, Slip] = {}


def slip(
    says: str, module: str, stage: str, check: str, base: str = "idefics3"
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Enter a patch of a module of the child; with "" for a module, a change of the converted folder."""

    def enter(function: Callable[[Any], None]) -> Callable[[Any], None]:
        where = {"module": module, "patch": function} if module else {"change": function}
        SLIPS[getattr(function, "__name__", says)] = Slip(says, stage, check, base, **where)
        return function

    return enter


def python_with(name: str, vision: Path, place: Path) -> Path:
    """Return a program that is the Python with mlx-vlm, and lets the slip happen in an engine's child."""
    if SLIPS[name].patch is None:
        return vision
    program = place / f"python-{name}"
    program.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *mlx_publish.engine*) shift 3; exec {vision} -I -X utf8 {Path(__file__).resolve()} {name} "$@";; '
        f'*) exec {vision} "$@";; esac\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
    return program


@contextlib.contextmanager
def happening(name: str) -> Iterator[None]:
    """Let the change of a slip happen to the converted folder, in this process."""
    judgement: Any = importlib.import_module("mlx_publish.conversion.judgement")  # not in the child

    before, change = judgement.add_side_files, SLIPS[name].change

    def add_side_files(prepared: Any, folder: Path) -> frozenset[str]:
        repaired: frozenset[str] = before(prepared, folder)
        if change is not None:
            change(folder)
        return repaired

    judgement.add_side_files = add_side_files
    try:
        yield
    finally:
        judgement.add_side_files = before


# Slips of the writer: the tensors are announced and written


def _planning(writer: Any, plan: Callable[[dict[str, Any]], None]) -> None:
    """Change the arrays that a writer is told of; what is written of the others is let go."""
    begun, write = writer.__init__, writer.write

    def begin(self: Any, folder: Path, planned: Sequence[tuple[str, Any]], parameters: int) -> None:
        arrays = dict(planned)
        plan(arrays)
        begun(self, folder, list(arrays.items()), parameters)
        self.planned = arrays

    def kept(self: Any, name: str, bits: Any) -> None:
        if name in self.planned:
            write(self, name, bits)

    writer.__init__, writer.write = begin, kept


def _writing(writer: Any, change: Callable[[str, Any], tuple[str, Any]]) -> None:
    """Change names and bits as they are written."""
    write = writer.write

    def changed(self: Any, name: str, bits: Any) -> None:
        write(self, *change(name, bits))

    writer.write = changed


@slip("the projector is dropped when the file is written", WRITER, "convert", "loads-as-written")
def projector_dropped(module: Any) -> None:
    _planning(module.ShardWriter, lambda arrays: arrays.pop(PROJECTOR, None))


@slip("the projector is written as zeros", WRITER, "convert", "loads-as-written")
def projector_zeroed(module: Any) -> None:
    _writing(module.ShardWriter, lambda name, bits: (name, bits * 0 if name == PROJECTOR else bits))


@slip("two layers of the tower are exchanged", WRITER, "convert", "loads-as-written")
def layers_exchanged(module: Any) -> None:
    def change(name: str, bits: Any) -> tuple[str, Any]:
        other = {FIRST: SECOND, SECOND: FIRST}
        return next(
            (there + name.removeprefix(here) for here, there in other.items() if name.startswith(here)), name
        ), bits

    _writing(module.ShardWriter, change)


@slip("a weight of the tower is written with its rows reversed", WRITER, "convert", "loads-as-written")
def rows_reversed(module: Any) -> None:
    _writing(module.ShardWriter, lambda name, bits: (name, bits[::-1].copy() if name == FC1 else bits))


@slip(
    "the tower is cast to float16, which cannot hold one of its numbers",
    WRITER,
    "convert",
    "loads-as-written",
    "large",
)
def tower_as_float16(module: Any) -> None:
    import mlx.core as mx  # noqa: PLC0415, TID251
    import numpy as np  # noqa: PLC0415

    def plan(arrays: dict[str, Any]) -> None:
        for name, array in arrays.items():
            if name.startswith("vision_model."):
                arrays[name] = mx.zeros(array.shape, mx.float16)

    def change(name: str, bits: Any) -> tuple[str, Any]:
        if not name.startswith("vision_model."):
            return name, bits
        with np.errstate(over="ignore"):
            values = (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float16)
        return name, values.view(np.uint16)

    _planning(module.ShardWriter, plan)
    _writing(module.ShardWriter, change)


@slip("a weight of the tower loses half of its digits", WRITER, "convert", "loads-as-written")
def tower_rounded(module: Any) -> None:
    _writing(module.ShardWriter, lambda name, bits: (name, bits & 0xFFF0 if name == FC1 else bits))


# Slips of how it is quantized and of its config


@slip("the tower is quantized, though nobody asked for it", BACKEND, "convert", "towers-kept")
def tower_quantized(module: Any) -> None:
    def predicate(model: Any, order: Any) -> Any:
        return lambda path, layer: hasattr(layer, "to_quantized") and layer.weight.shape[-1] % order.group_size == 0

    module.predicate = predicate


@slip("the projector is quantized, though nobody asked for it", BACKEND, "convert", "towers-kept")
def projector_quantized(module: Any) -> None:
    before = module.predicate

    def predicate(model: Any, order: Any) -> Any:
        own = before(model, order)
        return lambda path, layer: (
            own(path, layer) or (path.startswith("connector.") and hasattr(layer, "to_quantized"))
        )

    module.predicate = predicate


def _saving(module: Any, change: Callable[[dict[str, Any]], object]) -> None:
    before = module.save_config

    def save_config(config: dict[str, Any], path: Path) -> None:
        before(config, path)
        written = json.loads(path.read_text(encoding="utf-8"))
        change(written)
        path.write_text(json.dumps(written, indent=4), encoding="utf-8")

    module.save_config = save_config


@slip("config.json is written without its vision part", BACKEND, "convert", "loads-as-written")
def config_without_vision(module: Any) -> None:
    _saving(module, lambda config: config.pop("vision_config", None))


@slip("config.json names another number of heads of the tower", BACKEND, "convert", "loads-as-written")
def config_of_other_heads(module: Any) -> None:
    _saving(module, lambda config: config["vision_config"].update(num_attention_heads=8))


@slip("config.json names the next token for pictures", BACKEND, "convert", "loads-as-written")
def config_of_next_token(module: Any) -> None:
    _saving(module, lambda config: config.update(image_token_id=5))


@slip("config.json claims a tower that hears", BACKEND, "convert", "claims-kept")
def config_claims_sound(module: Any) -> None:
    _saving(module, lambda config: config.update(audio_config={"model_type": "whisper"}))


# Slips of mlx-vlm


@slip("the library leaves the first convolution as torch has it", IDEFICS_TOWER, "inspect", "twin-pictures")
def convolution_transposed_twice(module: Any) -> None:
    before = module.VisionModel.sanitize

    def sanitize(self: Any, weights: Any) -> Any:
        made = before(self, weights)
        return {k: v.transpose(0, 2, 1, 3) if "patch_embedding.weight" in k else v for k, v in made.items()}

    module.VisionModel.sanitize = sanitize


@slip("the library halves the features of a picture", IDEFICS, "inspect", "twin-pictures")
def features_scaled(module: Any) -> None:
    before = module.Idefics3Connector.__call__
    module.Idefics3Connector.__call__ = lambda self, states: before(self, states) * 0.5


@slip("the library puts the features of a picture in the reverse order", IDEFICS, "inspect", "twin-pictures")
def features_reversed(module: Any) -> None:
    before = module.Idefics3Connector.__call__
    module.Idefics3Connector.__call__ = lambda self, states: before(self, states)[:, ::-1]


@slip("the library shuffles pixels by columns instead of rows", IDEFICS, "inspect", "twin-pictures")
def grid_order_swapped(module: Any) -> None:
    before = module.Idefics3Connector.pixel_shuffle

    def pixel_shuffle(self: Any, x: Any, scale_factor: int = 2) -> Any:
        side = int(x.shape[1] ** 0.5)
        turned = x.reshape(x.shape[0], side, side, -1).transpose(0, 2, 1, 3).reshape(x.shape)
        return before(self, turned, scale_factor)

    module.Idefics3Connector.pixel_shuffle = pixel_shuffle


@slip("the library takes each position embedding for the next one's", IDEFICS_TOWER, "inspect", "twin-pictures")
def positions_shifted(module: Any) -> None:
    before = module.VisionEmbeddings.__call__

    def shifted(self: Any, *args: Any, **more: Any) -> Any:
        table = self.position_embedding.weight
        self.position_embedding.weight = table[[*range(1, table.shape[0]), 0]]
        try:
            return before(self, *args, **more)
        finally:
            self.position_embedding.weight = table

    module.VisionEmbeddings.__call__ = shifted


@slip("the library forgets the norm behind the tower", IDEFICS_TOWER, "inspect", "twin-pictures")
def norm_forgotten(module: Any) -> None:
    before = module.VisionModel.__init__

    def begin(self: Any, config: Any) -> None:
        before(self, config)
        self.post_layernorm.__class__ = type("Same", (type(self.post_layernorm),), {"__call__": lambda _self, x: x})

    module.VisionModel.__init__ = begin


@slip("the library leaves pictures out", IDEFICS, "inspect", "twin-pictures")
def pictures_ignored(module: Any) -> None:
    before = module.Model.get_input_embeddings

    def get_input_embeddings(self: Any, input_ids: Any = None, pixel_values: Any = None, **more: Any) -> Any:
        return before(self, input_ids, None, **more)

    module.Model.get_input_embeddings = get_input_embeddings


@slip(
    "the library's deep features are left out",
    "mlx_vlm.models.qwen3_vl.language",
    "inspect",
    "twin-pictures",
    "qwen3_vl",
)
def deep_features_ignored(module: Any) -> None:
    module.Qwen3VLModel._deepstack_process = lambda self, states, *_args, **_more: states


@slip(
    "the library's processor swaps height and width of the grid", QWEN_PROCESSOR, "convert", "pixels-equal", "qwen3_vl"
)
def processor_swaps_grid(module: Any) -> None:
    before = module.Qwen3VLImageProcessor._process_one

    def swapped(self: Any, *args: Any, **more: Any) -> Any:
        values, grid = before(self, *args, **more)
        return values, [grid[0], grid[2], grid[1]]

    module.Qwen3VLImageProcessor._process_one = swapped


@slip("the library's processor forgets to subtract the mean", QWEN_PROCESSOR, "convert", "pixels-equal", "qwen3_vl")
def processor_forgets_mean(module: Any) -> None:
    before = module.Qwen3VLImageProcessor._process_one

    def shifted(self: Any, *args: Any, **more: Any) -> Any:
        values, grid = before(self, *args, **more)
        return values + 1.0, grid

    module.Qwen3VLImageProcessor._process_one = shifted


# Slips of the files beside the weights


def _edited(folder: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    change(content)
    (folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")


@slip("preprocessor_config.json is left behind", "", "convert", "pixels-equal")
def processor_left_behind(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


@slip(
    "preprocessor_config.json is written anew with another family's mean and deviation", "", "convert", "pixels-equal"
)
def processor_defaults(folder: Path) -> None:
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    _edited(folder, "preprocessor_config.json", lambda content: content.update(image_mean=mean, image_std=std))


@slip("preprocessor_config.json is written anew with a mean rounded to two digits", "", "convert", "tokenizer-same")
def processor_rounded(folder: Path) -> None:
    _edited(folder, "preprocessor_config.json", lambda content: content.update(image_mean=[0.501, 0.499, 0.5]))


@slip("video_preprocessor_config.json is left behind", "", "convert", "tokenizer-same", "qwen3_vl")
def video_processor_left_behind(folder: Path) -> None:
    (folder / "video_preprocessor_config.json").unlink()


@slip("mean and deviation change places", "", "convert", "pixels-equal", "qwen3_vl")
def processor_mean_and_deviation(folder: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["image_mean"], content["image_std"] = [0.25] * 3, [0.75] * 3

    _edited(folder, "preprocessor_config.json", change)


@slip("pictures are resized by another filter", "", "convert", "pixels-equal")
def processor_filter(folder: Path) -> None:
    _edited(folder, "preprocessor_config.json", lambda content: content.update(resample=0))


@slip("the chat template is written without its slot for pictures", "", "convert", "tokenizer-same")
def template_loses_slot(folder: Path) -> None:
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text(encoding="utf-8").replace("{{ '<image>' }}", ""), encoding="utf-8")


@slip("the tokenizer's ids from the image token on are shifted by one", "", "convert", "tokenizer-same")
def ids_shifted(folder: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        one, other = content["added_tokens"][4], content["added_tokens"][5]
        one["content"], other["content"] = other["content"], one["content"]
        vocabulary = content["model"]["vocab"]
        vocabulary["<image>"], vocabulary["<global-img>"] = vocabulary["<global-img>"], vocabulary["<image>"]

    _edited(folder, "tokenizer.json", change)


class _Following(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a module as it is, and patches it."""

    def __init__(self, name: str, patch: Patch) -> None:
        self._name, self._patch, self._at_work = name, patch, False
        self._loader: Any = None

    def find_spec(self, fullname: str, _path: Any, _target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name or self._at_work:
            return None
        self._at_work = True
        spec = importlib.util.find_spec(fullname)
        self._at_work = False
        if spec is not None:
            self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._patch(module)


if __name__ == "__main__":
    _, given, launch, *words = sys.argv
    found = SLIPS[given]
    assert found.patch is not None
    sys.meta_path.insert(0, _Following(found.module, found.patch))
    sys.argv = [launch, *words]
    runpy.run_path(launch, run_name="__main__")
