"""What config.json alone decides: whether this is a language model that the converter can load."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping

from mlx_publish.checks.adapter import adapter_instead
from mlx_publish.checks.base import Check, Says, failed, passed, skipped, warned
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.model.names import shown
from mlx_publish.model.normalise import tagged_float
from mlx_publish.model.spellings import class_type

_HEAD = re.compile(r"For(CausalLM|ConditionalGeneration|ImageTextToText|Vision2Seq)\w*$|LMHead\w*$")
_DIFFUSION = re.compile(r"Diffusion|LLaDA|^Dream")
# ColPali, ColQwen2_5, BiQwen2: a model that sees, with vectors for retrieval instead of a head.
_RETRIEVER = re.compile(r"(?:Col|Bi)[A-Z](?!\w*For)\w*")
_NO_HEAD = re.compile(r"For[A-Z]\w*$|Model$|Encoder$")


def _readable(facts: SourceFacts) -> Says:
    if dead := facts.source.dead_links:
        return failed(
            f"{', '.join(dead[:5])} is a dangling link, as left by a pruned Hub cache",
            "Download the model again, or give its repo as the source.",
        )
    if not facts.source.config.raw:
        return passed("there is no config.json to read")
    return passed("config.json can be read")


def _model_type(facts: SourceFacts) -> Says:
    model_type = facts.source.config.model_type
    if "config.json" in facts.source.dead_links:
        return skipped("config.json leads nowhere")
    if not facts.source.config.raw:
        none = failed("the source has no config.json", "Choose a source in the Hugging Face layout.")
        return adapter_instead(facts) or none
    name, version, types = facts.loads.name, facts.loads.version, facts.loads.types
    if model_type is None:
        near = _near(facts.source.config.architectures, types)
        return failed(
            f"config.json has no model_type, so {name} cannot choose an architecture", f"{near}Add it to the source."
        )
    if version is None:
        return skipped(f"{name} is not installed here, so its supported types are unknown")
    if class_type(facts.source.config.raw) in types:
        return passed(f"{name} {version} can load {model_type}")
    instead = " To publish its text part alone, set 'modality: text', if mlx-lm has it." if facts.loads.senses else ""
    return failed(
        f"{name} {version} cannot load the model type {model_type}{' with what sees or hears' * facts.loads.senses}",
        f"{_near((model_type,), types)}Wait for a newer {name}, or choose another model.{instead}",
    )


def _near(names: tuple[str, ...], types: frozenset[str]) -> str:
    """Return the nearest known types to types, or to classes such as LlamaForCausalLM, as a sentence."""
    plain = [re.sub(r"For[A-Z]\w*$|Model$", "", name).lower() for name in names]
    near = [match for name in plain for match in difflib.get_close_matches(name, sorted(types), 3, 0.5)]
    return f"Nearest supported: {', '.join(dict.fromkeys(near))}. " if near else ""


def _language_head(facts: SourceFacts) -> Says:
    config = facts.source.config
    names = config.architectures
    if diffusion := next((name for name in names if _DIFFUSION.search(name)), None):
        return failed(f"{diffusion} generates by diffusion, not token by token", "Choose a causal language model.")
    if config.raw.get("is_encoder_decoder") is True:
        name = facts.loads.name
        return failed(f"it is an encoder-decoder model, which {name} cannot run", "Choose a causal language model.")
    if not names:
        return passed("config.json names no architecture class; the model type decides")
    if any(_HEAD.search(name) for name in names):
        return passed(f"{names[0]} is a causal language model")
    if (headless := _without_head(names)) is not None:
        return headless
    return warned(f"whether {names[0]} is a causal language model is not known", "Check the smoke test's answer.")


def _without_head(names: tuple[str, ...]) -> Says | None:
    """Refuse a class that is known to generate no text; None for any other."""
    if retriever := next((name for name in names if _RETRIEVER.fullmatch(name)), None):
        return failed(
            f"{retriever} gives vectors for retrieval, so it cannot generate text", "Choose the model it was made from."
        )
    if headless := next((name for name in names if _NO_HEAD.search(name)), None):
        return failed(
            f"{headless} has no language-model head, so it cannot generate text",
            "Choose the causal language model (a class like LlamaForCausalLM) it was made from.",
        )
    return None


def _numbers(facts: SourceFacts) -> Says:
    broken = [path for path, value in _walk(facts.source.config.raw, "") if math.isnan(value)]
    if broken:
        return failed(f"config.json contains NaN at {', '.join(broken[:5])}", "Correct the value in the source.")
    return passed("config.json contains no NaN")


def _walk(value: object, path: str) -> Iterator[tuple[str, float]]:
    """Yield each float below a value, with the path of its keys."""
    number = tagged_float(value)
    if number is not None:
        yield path, number
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _walk(item, f"{path}[{number}]")


def _code(facts: SourceFacts) -> Says:
    raw = facts.source.config.raw
    if own := raw.get("model_file"):
        return failed(
            f"config.json asks for code from the model repo ({own})", "Choose a source that does not need it."
        )
    scripts = [shown(path) for path in sorted(facts.source.entries) if path.endswith(".py")]
    mapped = ", which auto_map asks for," if raw.get("auto_map") else ""
    if scripts:
        return warned(f"code of the source{mapped} is neither run nor copied: {', '.join(scripts[:5])}")
    if mapped:
        return warned("auto_map in config.json asks for code that is not in the repo; none of it is run")
    return passed("the source contains no code")


ARCHITECTURE: tuple[Check[SourceFacts], ...] = (
    Check("readable", "The source's files can be parsed", "guessing about a broken file", _readable, safety=True),
    Check("model-type", "The converter supports the architecture", "hours of download for nothing", _model_type),
    Check(
        "language-head", "The model is a causal language model", "an encoder published as a chat model", _language_head
    ),
    Check("config-numbers", "config.json contains no NaN", "a model built with broken numbers", _numbers),
    Check("no-code", "The model needs no code of its own", "running untrusted code", _code, safety=True),
)
