"""The tokenizer, the chat template and what ends an answer, by their files alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

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
    tokenizer, vocabulary = facts.source.tokenizer, facts.source.vocabulary
    if tokenizer.fast:
        count = len(vocabulary.pieces.keys() | vocabulary.added.keys())
        return passed(f"tokenizer.json has {count:,} tokens")
    # transformers may have a class of the same name that needs no code of the source's.
    if (own := tokenizer.code) and tokenizer.tokenizer_class not in transformers4_classes():
        return failed(
            f"the tokenizer needs code from the source ({own}), which is never run, and tokenizer.json is missing",
            "Choose a source that has tokenizer.json, or convert the tokenizer and add the file to the source.",
        )
    if any(name in facts.source.entries for name in ("tokenizer.model", "vocab.json", "tiktoken.model")):
        return warned(f"no tokenizer.json; {facts.loads.name} builds one from the older files")
    return failed("the source has no tokenizer", "Complete the source.")


def _config(facts: SourceFacts) -> Says:
    if CONFIG in facts.source.entries:
        return passed(f"{CONFIG} is present")
    if not facts.source.tokenizer.fast:
        return skipped("no tokenizer.json to describe")
    lost = f"no {CONFIG} next to tokenizer.json"
    if not (_config_ids(facts) or _generation(facts)[0] or _token_ids(facts)):
        return failed(f"{lost}, and no other file names the token that ends an answer", _COMPLETE)
    turn = next((text for text in sorted(facts.source.vocabulary.added) if _OF_A_TURN.search(text)), None)
    if turn and not facts.source.tokenizer.templates:
        return failed(
            f"{lost}, and with it a chat template may be lost: the tokenizer has the token {turn[:40]!r}",
            f"{_COMPLETE} Accept this with a reason if the model is not a chat model.",
        )
    return warned(f"{lost}; one is written from tokenizer.json, special_tokens_map.json and config.json", _COMPLETE)


def _fits(facts: SourceFacts) -> Says:
    last, (rows, what) = facts.source.vocabulary.last, _rows(facts)
    if last is None:
        return skipped("no tokenizer.json to compare with")
    if rows is None:
        return skipped("neither the weights nor config.json give the vocabulary size")
    token, id_ = last
    if id_ >= rows:
        return failed(
            f"the token {token!r} has the id {id_}, and {what} has {rows} rows: such text reads past the embedding",
            "Choose a source whose tokenizer fits its embedding.",
            token=token,
            id=id_,
            rows=rows,
        )
    return passed(f"the largest id is {id_}, and {what} has {rows} rows")


def _rows(facts: SourceFacts) -> tuple[int | None, str]:
    """Return the rows of the embedding by its header, else by config.json, and the name of what gives them."""
    if embedding := embedding_of(facts.source.language_tensors):
        return embedding.shape[0], embedding.name
    size = facts.source.config.text.get("vocab_size")
    return (size if type(size) is int else None), "vocab_size of config.json"


def _template(facts: SourceFacts) -> Says:
    tokenizer = facts.source.tokenizer
    if not tokenizer.templates and not tokenizer.empty:
        return _no_template(facts)
    return _unusable(facts) or _placed(facts)


def _unusable(facts: SourceFacts) -> Says | None:
    """Return why none of the chat templates can be used; None if one can."""
    tokenizer = facts.source.tokenizer
    if tokenizer.empty:
        others = tokenizer.template_places if "default" in tokenizer.templates else ()
        hidden = f", and hides the template of {others[0]} from every client that reads both" if others else ""
        return failed(f"{tokenizer.empty} is empty{hidden}", "Remove the empty file from the source, or fill it.")
    if "default" not in tokenizer.templates:
        return failed(
            f"of the chat templates {', '.join(sorted(tokenizer.templates))} none is the default, so none applies "
            "unasked",
            "Name one of them 'default' in the source.",
        )
    look = facts.source.look
    texts = [look.text(probe.name) for probe in probes() if probe.must] if look else [None]
    if all(text is not None and not text.strip() for text in texts):
        message = "the chat template renders nothing: every dialogue becomes an empty prompt"
        return failed(message, "Have the source's template fixed upstream.")
    return None


def _placed(facts: SourceFacts) -> Says:
    """Judge where the chat templates stand, and whether they agree."""
    tokenizer = facts.source.tokenizer
    places = tokenizer.template_places
    marked = sorted(name for name, text in tokenizer.templates.items() if text.startswith(BYTE_ORDER_MARK))
    warnings = [f"the template starts with a byte order mark: {', '.join(marked)}"] if marked else []
    if tokenizer.templates_differ:
        warnings.append(f"the chat templates in {' and '.join(places)} differ; that in {places[0]} wins")
    if warnings:
        return warned("; ".join(warnings))
    names = (
        ""
        if len(tokenizer.templates) == 1
        else f", {len(tokenizer.templates)} by name: {', '.join(tokenizer.templates)}"
    )
    return passed(f"the chat template is in {' and '.join(places)}{names}")


def _no_template(facts: SourceFacts) -> Says:
    """Fail where a source without a chat template looks like a model for chats, by its name or by its card."""
    name = facts.recipe.spec.base_model or facts.recipe.source_name
    reason = ""
    if match := _CHAT_NAME.search(name.rpartition("/")[2]):
        reason = f"its name says {match.group().strip('-_.')!r}"
    elif "conversational" in {tag.lower() for tag in facts.source.card.texts("tags")}:
        reason = "its card has the tag 'conversational'"
    if reason:
        return failed(
            f"no chat template, although {reason}: every chat would be guesswork",
            "Add chat_template.jinja to the source, or accept this with a reason.",
        )
    return warned("no chat template; the card shows plain completion")


def _safe(facts: SourceFacts) -> Says:
    look = facts.source.look if "default" in facts.source.tokenizer.templates else None
    if look is None:
        return skipped("no chat template to render")
    return safe(look)


def _ends(facts: SourceFacts) -> Says:
    for path, config in (("config.json", facts.source.config.raw), (GENERATION, _generation_config(facts)[0])):
        if wrong := next(no_ids_in(config), None):
            key, value = wrong
            return failed(
                f"{key} of {path} is {json.dumps(value)[:40]}, but token ids are whole numbers",
                f"Correct {key} in the source's {path}.",
            )
    return passed("the EOS entries of config.json and generation_config.json are ids")


def _stop(facts: SourceFacts) -> Says:
    generation = _generation(facts)[0]
    ids = tuple(sorted({*_config_ids(facts), *generation, *_token_ids(facts)}))
    if not ids:
        message = "neither config.json, generation_config.json nor the tokenizer names an EOS token"
        if facts.source.tokenizer.templates:
            return failed(f"{message}: a chat would never stop", "Add eos_token_id to the source's config.json.")
        return warned(message, "The smoke test shows whether it stops.")
    rows, what = _rows(facts)
    outside = [id_ for id_ in ids if id_ < 0 or (rows is not None and id_ >= rows)]
    if outside:
        return failed(
            f"the EOS id {outside[0]} is outside the vocabulary ({what} has {rows} rows), so it never comes",
            f"Correct eos_token_id in the source's {GENERATION if outside[0] in generation else 'config.json'}.",
        )
    return passed(f"generation ends at {', '.join(map(str, ids))}")


def _stop_files(facts: SourceFacts) -> Says:
    if GENERATION not in facts.source.entries:
        return passed("no generation_config.json")
    ids, problem = _generation(facts)
    if problem:
        return warned(f"{problem}: {facts.loads.name} would silently ignore it; it is repaired in the output")
    hidden = sorted({*_config_ids(facts), *_token_ids(facts)} - set(ids)) if ids else []
    if hidden:
        return warned(
            f"generation_config.json hides the EOS id(s) {', '.join(map(str, hidden))} that config.json or the "
            "tokenizer names; they are merged in all files of the output"
        )
    return passed("generation_config.json hides no EOS id")


def _config_ids(facts: SourceFacts) -> tuple[int, ...]:
    return stop_ids_in(facts.source.config.raw)


def _generation(facts: SourceFacts) -> tuple[tuple[int, ...], str]:
    """Return the stop ids of generation_config.json, and what is wrong with the file."""
    config, problem = _generation_config(facts)
    return stop_ids_in(config), problem


def _generation_config(facts: SourceFacts) -> tuple[Mapping[str, object], str]:
    """Return generation_config.json and what is wrong with it; of all files it alone may be broken."""
    try:
        return facts.source.json(GENERATION) or {}, ""
    except Refused as error:
        return {}, str(error)


def _token_ids(facts: SourceFacts) -> tuple[int, ...]:
    """Return the id of the tokenizer's own end token, or none."""
    token = facts.source.tokenizer.special_tokens.get("eos_token")
    id_ = facts.source.vocabulary.id_of(token) if token else None
    return () if id_ is None else (id_,)


TOKENIZER: tuple[Check[SourceFacts], ...] = (
    Check("tokenizer", "The tokenizer is present", "a model that cannot read", _tokenizer),
    Check("tokenizer-config", "tokenizer_config.json is present", "losing the chat template or an EOS token", _config),
    Check("ids-fit", "Every token id has an embedding row", "ids beyond the embedding", _fits),
    Check("chat-template", "The chat template is usable", "a chat model that rambles", _template),
    Check("template-safe", "The chat template renders safely", "a runner that hangs", _safe, safety=True),
    Check("end-ids", "Every EOS entry is a token id", "stop ids that no client can read", _ends, safety=True),
    Check("stop-ids", "At least one EOS id is defined", "a model that never stops", _stop),
    Check("stop-files", "generation_config.json hides no stop id", "a stop token that nobody sees", _stop_files),
)
