"""The tokenizer, the chat template and what ends an answer, by their files alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from mlx_publish.chat.dialogues import probes
from mlx_publish.chat.properties import BYTE_ORDER_MARK
from mlx_publish.checks.base import Check, Says, failed, passed, skipped, warned
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.checks.template import safe
from mlx_publish.errors import Refused
from mlx_publish.model.draft import CONFIG
from mlx_publish.model.portable import transformers4_classes
from mlx_publish.model.stopping import no_ids_in, stop_ids_in
from mlx_publish.model.weights import embedding_of

GENERATION = "generation_config.json"
_COMPLETE = f"Add the {CONFIG} of the model to the source."
_OF_A_TURN = re.compile(r"im_start|start_of_turn|header_id|\bINST\b|user|assistant|chatbot|^<\|?turn", re.IGNORECASE)
_CHAT_NAME = re.compile(r"(?:^|[-_.])(?:instruct|chat|it|rlhf|dpo|sft)(?=$|[-_.\d])", re.IGNORECASE)


def _tokenizer(facts: SourceFacts) -> Says:
    if facts.source.tokenizer.fast:
        return passed(f"there is a tokenizer.json with {_count(facts):,} tokens")
    if own := _own_code(facts):
        return failed(
            f"the tokenizer is code of the source's own ({own}), which is never run, and there is no tokenizer.json",
            "Take a source that has tokenizer.json, or make one from the tokenizer and add it to the source.",
        )
    if any(name in facts.source.entries for name in ("tokenizer.model", "vocab.json", "tiktoken.model")):
        return warned("there is no tokenizer.json; mlx-lm makes one from the older files")
    return failed("the source has no tokenizer", "Complete the source.")


def _config(facts: SourceFacts) -> Says:
    if CONFIG in facts.source.entries:
        return passed(f"there is a {CONFIG}")
    if not facts.source.tokenizer.fast:
        return skipped("there is no tokenizer.json to describe")
    lost = f"there is no {CONFIG} beside tokenizer.json"
    if not (_config_ids(facts) or _generation(facts)[0] or _token_ids(facts)):
        return failed(f"{lost}, and no other file names the token that ends an answer", _COMPLETE)
    turn = next((text for text in sorted(facts.source.vocabulary.added) if _OF_A_TURN.search(text)), None)
    if turn and not facts.source.tokenizer.templates:
        return failed(
            f"{lost}, and with it a chat template may be lost: the tokenizer has the token {turn[:40]!r}",
            f"{_COMPLETE} Accept this with a reason where the model was not made for chats.",
        )
    return warned(f"{lost}; one is written from tokenizer.json, special_tokens_map.json and config.json", _COMPLETE)


def _own_code(facts: SourceFacts) -> str | None:
    """The tokenizer class of the source's own, unless transformers has one of the name that goes without it."""
    found = facts.source.tokenizer
    return None if found.tokenizer_class in transformers4_classes() else found.code


def _count(facts: SourceFacts) -> int:
    vocabulary = facts.source.vocabulary
    return len(vocabulary.pieces.keys() | vocabulary.added.keys())


def _fits(facts: SourceFacts) -> Says:
    last, (rows, what) = facts.source.vocabulary.last, _rows(facts)
    if last is None:
        return skipped("there is no tokenizer.json to compare with")
    if rows is None:
        return skipped("neither the weights nor config.json tell how many ids there are")
    token, id_ = last
    if id_ >= rows:
        return failed(
            f"the token {token!r} has the id {id_}, and {what} has {rows} rows: text with it reads foreign memory",
            "Take a source whose tokenizer fits its embedding.",
            token=token, id=id_, rows=rows,
        )  # fmt: skip
    return passed(f"the largest id is {id_} and {what} has {rows} rows")


def _rows(facts: SourceFacts) -> tuple[int | None, str]:
    """Rows of the embedding by its header, else by config.json."""
    if found := embedding_of(facts.source.language_tensors):
        return found.shape[0], found.name
    size = facts.source.config.text.get("vocab_size")
    return (size if type(size) is int else None), "vocab_size of config.json"


def _template(facts: SourceFacts) -> Says:
    found = facts.source.tokenizer
    if not found.templates and not found.empty:
        return _no_template(facts)
    return _unusable(facts) or _placed(facts)


def _unusable(facts: SourceFacts) -> Says | None:
    """Why none of its chat templates can be used."""
    found = facts.source.tokenizer
    if found.empty:
        others = found.template_places if "default" in found.templates else ()
        hidden = f", and hides the template of {others[0]} from every client that reads both" if others else ""
        return failed(f"{found.empty} is empty{hidden}", "Remove the empty file from the source, or fill it.")
    if "default" not in found.templates:
        return failed(
            f"of the chat templates {', '.join(sorted(found.templates))} none is the default, so none applies unasked",
            "Name one of them 'default' in the source.",
        )
    if _silent(facts):
        said = "the chat template writes nothing: every dialogue becomes an empty prompt"
        return failed(said, "Have the source's template mended.")
    return None


def _placed(facts: SourceFacts) -> Says:
    """Where they stand, and whether they agree."""
    found = facts.source.tokenizer
    places = found.template_places
    marked = sorted(name for name, text in found.templates.items() if text.startswith(BYTE_ORDER_MARK))
    told = [f"a byte order mark stands at the head of the template {', '.join(marked)}"] if marked else []
    if found.templates_differ:
        told.append(f"the chat templates in {' and '.join(places)} differ; that in {places[0]} wins")
    if told:
        return warned("; ".join(told))
    names = "" if len(found.templates) == 1 else f", {len(found.templates)} by name: {', '.join(found.templates)}"
    return passed(f"the chat template stands in {' and '.join(places)}{names}")


def _silent(facts: SourceFacts) -> bool:
    """Whether every dialogue that has to work becomes an empty text."""
    seen = facts.source.look
    texts = [seen.text(probe.name) for probe in probes() if probe.must] if seen else [None]
    return all(text is not None and not text.strip() for text in texts)


def _no_template(facts: SourceFacts) -> Says:
    if reason := _chat_model(facts):
        return failed(
            f"there is no chat template, and {reason}: every chat would be guesswork",
            "Add chat_template.jinja to the source, or accept this with a reason.",
        )
    return warned("there is no chat template; the card shows plain completion")


def _chat_model(facts: SourceFacts) -> str:
    """Why it looks like a model for chats; empty where it does not."""
    name = facts.recipe.spec.base_model or facts.recipe.source_name
    if match := _CHAT_NAME.search(name.rpartition("/")[2]):
        return f"its name says {match.group().strip('-_.')!r}"
    tags = {tag.lower() for tag in facts.source.card.texts("tags")}
    return "its card has the tag 'conversational'" if "conversational" in tags else ""


def _safe(facts: SourceFacts) -> Says:
    seen = facts.source.look if "default" in facts.source.tokenizer.templates else None
    if seen is None:
        return skipped("there is no chat template to render")
    return safe(seen)


def _ends(facts: SourceFacts) -> Says:
    for path, config in (("config.json", facts.source.config.raw), (GENERATION, _generation_config(facts)[0])):
        if wrong := next(no_ids_in(config), None):
            key, value = wrong
            return failed(
                f"{key} of {path} is {json.dumps(value)[:40]}, and the id of a token is a whole number",
                f"Correct {key} in the source's {path}.",
            )
    return passed("what config.json and generation_config.json name as ends are ids")


def _stop(facts: SourceFacts) -> Says:
    generation = _generation(facts)[0]
    ids = tuple(sorted({*_config_ids(facts), *generation, *_token_ids(facts)}))
    if not ids:
        return _endless(facts)
    rows, what = _rows(facts)
    outside = [id_ for id_ in ids if id_ < 0 or (rows is not None and id_ >= rows)]
    if outside:
        return failed(
            f"the end token {outside[0]} is outside of the vocabulary ({what} has {rows} rows), so it never comes",
            f"Correct eos_token_id in the source's {GENERATION if outside[0] in generation else 'config.json'}.",
        )
    return passed(f"generation ends at {', '.join(map(str, ids))}")


def _endless(facts: SourceFacts) -> Says:
    said = "neither config.json, generation_config.json nor the tokenizer names an end token"
    if facts.source.tokenizer.templates:
        return failed(f"{said}: a chat would never stop", "Add eos_token_id to the source's config.json.")
    return warned(said, "The smoke test shows whether it stops.")


def _stop_files(facts: SourceFacts) -> Says:
    if GENERATION not in facts.source.entries:
        return passed("there is no generation_config.json that could hide an end token")
    ids, problem = _generation(facts)
    if problem:
        return warned(f"{problem}: mlx-lm would ignore it in silence; it will be repaired in the output")
    hidden = sorted({*_config_ids(facts), *_token_ids(facts)} - set(ids)) if ids else []
    if hidden:
        return warned(
            f"generation_config.json hides the end token(s) {', '.join(map(str, hidden))} that config.json or the "
            "tokenizer names; they will be united in all files of the output"
        )
    return passed("generation_config.json hides no end token")


def _config_ids(facts: SourceFacts) -> tuple[int, ...]:
    return stop_ids_in(facts.source.config.raw)


def _generation(facts: SourceFacts) -> tuple[tuple[int, ...], str]:
    """The ids of generation_config.json, and what is wrong with the file."""
    found, problem = _generation_config(facts)
    return stop_ids_in(found), problem


def _generation_config(facts: SourceFacts) -> tuple[Mapping[str, Any], str]:
    """The file, empty where it is broken, which it alone may be."""
    try:
        return facts.source.json(GENERATION) or {}, ""
    except Refused as error:
        return {}, str(error)


def _token_ids(facts: SourceFacts) -> tuple[int, ...]:
    """The id of the tokenizer's own end token."""
    token = facts.source.tokenizer.special_tokens.get("eos_token")
    found = facts.source.vocabulary.id_of(token) if token else None
    return () if found is None else (found,)


TOKENIZER: tuple[Check[SourceFacts], ...] = (
    Check("tokenizer", "The tokenizer is there", "a model that cannot read", _tokenizer),
    Check("tokenizer-config", "The tokenizer is described", "a chat template or an end that is lost", _config),
    Check("ids-fit", "Every id has its row", "ids beyond the embedding", _fits),
    Check("chat-template", "The chat template is known", "a chat model that babbles", _template),
    Check("template-safe", "The chat template can be rendered safely", "a runner that hangs", _safe, safety=True),
    Check("end-ids", "What names an end is an id", "a stop that no client can read", _ends, safety=True),
    Check("stop-ids", "An end is named", "a model that never stops", _stop),
    Check("stop-files", "No file hides an end", "an end token that mlx-lm does not see", _stop_files),
)
