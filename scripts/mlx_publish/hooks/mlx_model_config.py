"""mlx-model-config: config.json, generation_config.json and tokenizer_config.json of a model say what clients need,
and agree with each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mlx_publish.errors import Fault
from mlx_publish.hooks import ends
from mlx_publish.hooks.faults import Options
from mlx_publish.hooks.model_folder import ModelFolder
from mlx_publish.hooks.plan_beside import plan
from mlx_publish.hooks.quantization_block import quantization
from mlx_publish.hooks.senses import senses


def look(files: Sequence[Path], options: Options) -> Iterator[Fault]:
    """Yield faults in the folders that `files` lie in; with `--fix` what can be mended is mended."""
    models = [model for model in map(ModelFolder, dict.fromkeys(path.parent for path in files)) if model.is_model]
    for model in models:
        yield from model.unreadable()
    readable = [model for model in models if not model.broken]
    turn_ends = ends.turn_ends(readable)
    for model, turn_end in zip(readable, turn_ends, strict=True):
        yield from _architecture(model)
        yield from senses(model)
        yield from quantization(model, fix=options.fix)
        yield from plan(model)
        yield from ends.stop_ids(model, turn_end, fix=options.fix)
        yield from ends.portability(model, fix=options.fix)
        model.write()


def _architecture(model: ModelFolder) -> Iterator[Fault]:
    config = model.config
    if config is None:
        return
    if not isinstance(config.get("model_type"), str) or not config["model_type"]:
        yield model.fault("config.json", "model_type", "this key is missing, so no client can choose an architecture")
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        message = "is not a list of class names, such as [LlamaForCausalLM]" if names else "this key is missing"
        yield model.fault("config.json", "architectures", message, "Copy the value from the source model.")
