"""What metadata tells about a source, before any weight is downloaded."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from mlx_publish.checks.base import Check, Says, failed, passed, skipped, warned
from mlx_publish.checks.licence import licence
from mlx_publish.model.card import SourceCard
from mlx_publish.model.config import ModelConfig
from mlx_publish.model.files import FileEntry
from mlx_publish.model.tokenizer import TokenizerInfo
from mlx_publish.model.weights import TensorInfo
from mlx_publish.recipe import Recipe, Variant

# A pointer file of git-lfs has about 130 bytes; no weight file is so small.
_POINTER_SIZE = 1024


@dataclass(frozen=True)
class SourceFacts:
    """All that is known of a source and one variant when `inspect` judges."""

    recipe: Recipe
    variant: Variant
    identity: str
    """Commit, or digest of the folder."""
    entries: Mapping[str, FileEntry]
    config: ModelConfig
    tokenizer: TokenizerInfo
    card: SourceCard
    weights: tuple[str, ...]
    """The one set of weight files."""
    headers: Mapping[str, tuple[TensorInfo, ...]]
    mlx_lm: tuple[str, frozenset[str]] | None
    """Version of the installed mlx-lm and the model types that it can load."""
    taken: Mapping[str, bool] = field(default_factory=dict)
    """For the destination and known community names: whether the repo exists already."""


def _revision(facts: SourceFacts) -> Says:
    if facts.recipe.source_folder:
        return passed(f"the folder's files are identified by the digest {facts.identity[:12]}")
    if facts.recipe.spec.revision == facts.identity:
        return passed(f"pinned to commit {facts.identity}")
    named = facts.recipe.spec.revision or "the default branch"
    return warned(
        f"{named} is commit {facts.identity} today and may be another one tomorrow",
        f"Write 'revision: {facts.identity}' into the recipe.",
    )


def _model_type(facts: SourceFacts) -> Says:
    found = facts.config.model_type
    if not facts.config.raw:
        return failed("the source has no config.json", "Choose a source in Hugging Face layout.")
    if found is None:
        return failed("config.json has no model_type, so no architecture can be chosen", "Add it to the source.")
    if facts.mlx_lm is None:
        return skipped("mlx-lm is not installed here, so what it can load is not known")
    version, types = facts.mlx_lm
    if found in types:
        return passed(f"mlx-lm {version} can load {found}")
    near = difflib.get_close_matches(found, sorted(types), 3, 0.5)
    hint = f"Nearest that it has: {', '.join(near)}. " if near else ""
    return failed(
        f"mlx-lm {version} cannot load the model type {found}",
        hint + "Wait for a newer mlx-lm, or take another model.",
    )


def _code(facts: SourceFacts) -> Says:
    if own := facts.config.raw.get("model_file"):
        return failed(f"config.json asks for code from the model repo ({own})", "Take a source without it.")
    scripts = sorted(path for path in facts.entries if path.endswith(".py"))
    if scripts:
        return warned(f"code of the source is neither run nor carried over: {', '.join(scripts[:5])}")
    return passed("the source carries no code")


def _weights(facts: SourceFacts) -> Says:
    if not facts.weights:
        others = sorted(p for p in facts.entries if p.endswith((".bin", ".pt", ".pth", ".gguf", ".h5", ".ckpt")))
        seen = f"; it has {', '.join(others[:3])}" if others else ""
        return failed(f"the source has no safetensors weights{seen}", "Choose a source with safetensors weights.")
    missing = [path for path in facts.weights if path not in facts.entries]
    if missing:
        return failed(f"the index names files that are not there: {', '.join(missing[:5])}", "Complete the source.")
    pointers = [
        path for path in facts.weights if facts.entries[path].size < _POINTER_SIZE and not facts.headers.get(path)
    ]
    if pointers:
        return failed(f"{pointers[0]} is a git-lfs pointer, not the weights", "Download the weights (git lfs pull).")
    tensors = sum(len(header) for header in facts.headers.values())
    return passed(f"{len(facts.weights)} weight file(s) with {tensors:,} tensors")


def _one_set(facts: SourceFacts) -> Says:
    on_top = {path for path in facts.entries if path.endswith(".safetensors") and "/" not in path}
    extra = sorted(on_top - set(facts.weights))
    if extra:
        return warned(f"not taken, because they belong to another set of weights: {', '.join(extra[:5])}")
    return passed("there is one set of weights")


def _unquantized(facts: SourceFacts) -> Says:
    block = facts.config.quantization
    if block is None:
        return passed("the source is not quantized")
    how = block.get("quant_method") or f"{block.get('bits', '?')} bits by MLX"
    return failed(
        f"the source is quantized already ({how}); the result would not have the bits that its name says",
        f"Take the model that it was made from{_base(facts)}.",
    )


def _base(facts: SourceFacts) -> str:
    names = facts.card.texts("base_model")
    return f": {names[0]}" if names else ""


def _tokenizer(facts: SourceFacts) -> Says:
    if facts.tokenizer.fast:
        return passed("there is a tokenizer.json")
    if any(name in facts.entries for name in ("tokenizer.model", "vocab.json", "tiktoken.model")):
        return warned("there is no tokenizer.json; mlx-lm makes one from the older files")
    return failed("the source has no tokenizer", "Complete the source.")


def _template(facts: SourceFacts) -> Says:
    found = facts.tokenizer
    if not found.templates:
        return warned("there is no chat template; the card shows plain completion")
    if len(found.template_places) > 1:
        return warned(f"a chat template stands in {' and '.join(found.template_places)}; the first one applies")
    return passed(f"the chat template stands in {found.template_places[0]}")


def _stop(facts: SourceFacts) -> Says:
    if facts.tokenizer.stop_ids:
        return passed(f"generation ends at {', '.join(map(str, facts.tokenizer.stop_ids))}")
    return warned(
        "neither config.json nor generation_config.json names an end token",
        "The smoke test shows whether it stops.",
    )


def _taken(facts: SourceFacts) -> Says:
    if not facts.taken:
        return skipped("no repo of a Hub is concerned")
    there = [name for name, exists in facts.taken.items() if exists]
    if there:
        return warned(f"exists already: {', '.join(there)}", "Publish only if yours is better or newer.")
    return passed(f"not taken yet: {', '.join(facts.taken)}")


INSPECT: tuple[Check[SourceFacts], ...] = (
    Check("revision", "The revision is pinned", "a card that describes other bytes than were converted", _revision),
    Check("model-type", "mlx-lm has the architecture", "hours of download for nothing", _model_type),
    Check("no-code", "No code of the model is needed", "running a stranger's code", _code, safety=True),
    Check("weights-present", "The weights are there", "a conversion of half a model", _weights),
    Check("one-weight-set", "One set of weights", "tensors of two sets mixed", _one_set),
    Check("unquantized", "The source is not quantized", "a bit width other than the name says", _unquantized),
    Check("tokenizer", "The tokenizer is there", "a model that cannot read", _tokenizer),
    Check("chat-template", "The chat template is known", "a chat model that babbles", _template),
    Check("stop-ids", "An end is named", "a model that never stops", _stop),
    Check("licence", "The licence is known", "publishing without the right to", lambda f: licence(f.recipe, f.card)),
    Check("not-taken", "The name is free", "a second copy of what exists", _taken),
)  # fmt: skip
