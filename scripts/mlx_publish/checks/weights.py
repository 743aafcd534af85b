"""The weight files: all there, whole, of one set, as the index says, in numbers that conversion can keep."""

from __future__ import annotations

from collections import Counter

from mlx_publish.checks.adapter import adapter_instead
from mlx_publish.checks.base import Check, Says, failed, passed, warned
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.model.config import DTYPES
from mlx_publish.model.metadata import Metadata
from mlx_publish.model.names import shown
from mlx_publish.model.weights import INDEX, shard_numbers, weight_map

_OTHER_FORMATS = (".bin", ".pt", ".pth", ".gguf", ".h5", ".ckpt", ".msgpack", ".onnx", ".npz", ".safetensors")
# A file shorter than this cannot even hold a header.
_SHORTEST = 10


def _inside(facts: SourceFacts) -> Says:
    outside = [path for path in facts.source.weights if path.startswith("/") or "\\" in path or ".." in path.split("/")]
    if outside:
        return failed(f"{INDEX} points outside the model: {outside[0]}", "Do not use this source.")
    return passed("no path points outside the model")


def _present(facts: SourceFacts) -> Says:
    source = facts.source
    if not source.weights:
        return _other_formats(facts)
    if missing := [path for path in source.weights if path not in source.entries]:
        return failed(f"the index names missing files: {', '.join(missing[:5])}", "Complete the source.")
    if source.index is None and (gaps := _gaps(source.weights)):
        return failed(f"of the numbered weight files are missing: {', '.join(gaps[:5])}", "Complete the source.")
    size = sum(source.entries[path].size for path in source.weights)
    return _broken(source, facts.loads.name) or passed(
        f"{len(source.weights)} weight file(s) of {size:,} bytes are there"
    )


def _broken(source: Metadata, name: str) -> Says | None:
    """Fail for a file that is no weight file, or that the converter `name` does not read; None where all are well."""
    if pointer := next((path for path in source.weights if source.is_pointer(path)), None):
        return failed(f"{pointer} is a git-lfs pointer, not the weights", "Download the weights (git lfs pull).")
    if empty := next((path for path in source.weights if source.entries[path].size < _SHORTEST), None):
        return failed(f"{empty} is empty", "Complete the source.")
    if strange := next((path for path in source.weights if "/" in path or not path.startswith("model")), None):
        return failed(
            f"{name} reads weights from files named model*.safetensors only, and the index names {strange}",
            "Rename the files in the source and in its index.",
        )
    return None


def _gaps(paths: tuple[str, ...]) -> list[str]:
    """Return the names of the shards that are missing between numbered files."""
    return [
        f"model-{number:05}-of-{total:05}.safetensors"
        for total, numbers in shard_numbers(paths).items()
        for number in range(1, min(total, 100_000) + 1)
        if number not in numbers
    ]


def _other_formats(facts: SourceFacts) -> Says:
    """Refuse a source without safetensors weights, and name what it has instead."""
    if (adapter := adapter_instead(facts)) is not None:
        return adapter
    others = sorted(path for path in facts.source.entries if path.endswith(_OTHER_FORMATS))
    listing = f"; it has {', '.join(map(shown, others[:3]))}" if others else ""
    return failed(f"the source has no safetensors weights{listing}", "Choose a source with safetensors weights.")


def _one_set(facts: SourceFacts) -> Says:
    source = facts.source
    if source.index is None and len(source.weights) > 1 and len(shard_numbers(source.weights)) != 1:
        return failed(
            f"several sets of weights, and no index to choose between them: {', '.join(source.weights[:5])}",
            "Leave one set in the source, or add an index.",
        )
    on_top = {path for path in source.entries if path.endswith(".safetensors") and "/" not in path}
    if extra := sorted(on_top - set(source.weights)):
        return warned(f"ignored, because they belong to another set of weights: {', '.join(map(shown, extra[:5]))}")
    return passed("one set of weights")


def _index(facts: SourceFacts) -> Says:
    source = facts.source
    if source.index is None:
        return passed("no index, and none is needed")
    listed = set(weight_map(source.index).items())
    stored = {(tensor.name, path) for path, header in source.headers.items() for tensor in header}
    if lost := sorted(listed - stored):
        return failed(
            f"the index promises {len(lost)} tensor(s) that are not in their files, first {lost[0][0]} in {lost[0][1]}",
            "Complete the source.",
        )
    if strange := sorted(stored - listed):
        return failed(
            f"{len(strange)} tensor(s) are not in the index, first {strange[0][0]} of {strange[0][1]}",
            "Remove them from the source, or add them to its index.",
        )
    return passed(f"the index and the files agree on {len(stored):,} tensors")


def _once(facts: SourceFacts) -> Says:
    twice = [
        name for name, count in Counter(tensor.name for tensor in facts.source.stored_tensors).items() if count > 1
    ]
    if twice:
        return failed(
            f"{twice[0]} is in several weight files; which one is loaded is undefined", "Remove one from the source."
        )
    if not facts.source.stored_tensors:
        return failed("the weight files contain no tensors", "Choose another source.")
    return passed(f"{len(facts.source.stored_tensors):,} tensors, each once")


def _precision(facts: SourceFacts) -> Says:
    matrices = [tensor for tensor in facts.source.language_tensors if len(tensor.shape) > 1]
    kinds = Counter[str]()
    for tensor in matrices:
        kinds[DTYPES.get(tensor.dtype, tensor.dtype)] += tensor.size
    types = [kind for kind, _ in kinds.most_common()]
    if "float64" in types:
        return warned("weights are stored as float64, which MLX cannot use on the GPU; they are rounded")
    if facts.variant.dtype == "float16" and {"bfloat16", "float32"} & set(types):
        return warned(
            f"float16 is requested, but the source has {types[0]}: values above 65504 become infinity",
            "Use bfloat16 or float32, unless the check of the weights passes.",
        )
    if len(types) > 1:
        return warned(f"matrices are stored in several dtypes: {', '.join(types)}")
    declared = facts.source.config.dtype
    differs = f", and config.json declares {declared}" if declared and types and declared != types[0] else ""
    return passed(f"matrices are stored as {types[0]}{differs}" if types else "no matrices")


INDEXED: tuple[Check[SourceFacts], ...] = (
    Check(
        "paths-inside",
        "The weight index names no path outside of the source",
        "reading private files",
        _inside,
        safety=True,
    ),
)
LISTED: tuple[Check[SourceFacts], ...] = (
    Check("weights-present", "All weight files are present", "converting half a model", _present),
    Check("one-weight-set", "There is one set of weights", "mixing tensors of two sets", _one_set),
)
HEADERS: tuple[Check[SourceFacts], ...] = (
    Check("tensors-once", "Each tensor occurs once", "one tensor overwriting another", _once),
)
STORED: tuple[Check[SourceFacts], ...] = (
    Check("source-index", "The weight index matches the files", "a model with missing parts", _index),
    Check(
        "source-precision", "The weights are stored in one suitable dtype", "silent rounding or overflow", _precision
    ),
)
