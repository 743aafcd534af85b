"""The converted folder's tokenizer, as it was loaded and compared, and the ids that end an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlx_publish.chat.turn import TurnEnd
from mlx_publish.checks.base import Check, Says, failed, fixed, passed, skipped, warned
from mlx_publish.evidence.conversion import TokenizerComparison
from mlx_publish.evidence.records import to_json
from mlx_publish.model.portable import Repaired
from mlx_publish.model.stopping import Stopping


@dataclass(frozen=True)
class TokenizerOutput:
    """The tokenizer that will be published: compared, repaired, and with all ids that end an answer."""

    compared: TokenizerComparison
    """Of the folder as it is now."""
    repaired: Repaired
    """The changes to its files."""
    stopping: Stopping
    rows: int | None
    """Rows of the embedding; None if no tensor is called like one."""
    library: str = "mlx-lm"
    """The name of the converter."""
    turn_end: TurnEnd | None = None
    """What the chat template puts behind an answer; None if there is no template."""


# What lets a class overrule tokenizer.json.
_BY_CLASS: Mapping[str, str] = {
    "source": "they take the tokenizer's class by the model type, of the source too",
    "type": "they take the tokenizer's class by the model type, under which {library} reads this text part",
}


def _ids(output: TokenizerOutput) -> Says:
    compared = output.compared
    if compared.error:
        return failed(compared.error, "Fix the source's tokenizer files.")
    against = "tokenizer.json" if compared.reference == "tokenizer.json" else "tokenizer, loaded by transformers"
    first, by = compared.first, output.library
    if first and (why := _BY_CLASS.get(str(compared.class_of))):
        return warned(
            f"transformers and {by} give other ids than tokenizer.json alone for {compared.different} of "
            f"{compared.probes} probe texts, first {first.probe!r}: {why.format(library=by)}; clients that "
            "read tokenizer.json alone give those of the file",
            "If the class is right, make the source's tokenizer.json do the same.",
            first=to_json(first),
        )
    if first:
        return failed(
            f"{compared.different} of {compared.probes} probe texts give other ids than the source's {against}, "
            f"first {first.probe!r} at token {first.position}: {first.ids} instead of {first.source_ids}",
            "Compare tokenizer_class in tokenizer_config.json with tokenizer.json; they describe two tokenizers.",
            first=to_json(first),
        )
    return passed(
        f"{compared.probes} probe texts give the same ids as the source's {against}",
        given_back=compared.round_trip,
        not_given_back=list(compared.not_given_back),
    )


def _portable(output: TokenizerOutput) -> Says:
    changes, remarks = [change.message for change in output.repaired.changes], list(output.repaired.remarks)
    if changes:
        return fixed("; ".join(changes), changes=changes, remarks=remarks)
    if remarks:
        return warned("; ".join(remarks), remarks=remarks)
    return passed("the tokenizer's files suit clients on transformers 4 and 5 as they are")


def _stops(output: TokenizerOutput) -> Says:
    stopping = output.stopping
    ids = list(stopping.ids)
    if stopping.refusal:
        return failed(stopping.refusal, "Set eos_token in the source to the token that ends an answer.", ids=ids)
    end = output.turn_end
    alone: tuple[str, ...] = ()
    if end and end.text and not end.stop:
        # The source's own way.
        message = f"the chat template puts {end.text[:40]!r} behind an answer, which is not a token"
        alone = (f"{message}: as in the source, an answer ends only at {', '.join(map(str, ids))}",)
    if changes := [change.message for change in stopping.changes]:
        return fixed("; ".join((*changes, *alone)), ids=ids, changes=changes)
    if alone:
        return warned(alone[0], ids=ids)
    if end and end.error:
        return warned(f"the token that ends a turn is unknown: {end.error}", ids=ids)
    if end and end.text is None:
        return warned("the chat template adds nothing after an answer; the smoke test shows whether it stops", ids=ids)
    return passed(f"all files agree that an answer ends at {', '.join(map(str, ids)) or 'no id'}", ids=ids)


def _embedding(output: TokenizerOutput) -> Says:
    compared = output.compared
    if compared.error:
        return failed("the ids are unknown, because the tokenizer cannot be loaded", "See tokenizer-ids.")
    largest, rows = compared.largest_id, output.rows
    if rows is None:
        return skipped("no tensor of the source is named like an embedding")
    if largest >= rows:
        return failed(
            f"the text {compared.largest_probe!r} gives the id {largest}, but the embedding has {rows} rows",
            "Choose a source whose embedding fits its tokenizer.",
        )
    if compared.vocabulary > rows:
        return warned(f"the tokenizer has {compared.vocabulary} tokens for {rows} rows; no text reaches those beyond")
    return passed(f"the largest id that text reaches is {largest}, of {rows} rows")


TOKENIZER_OUTPUT: tuple[Check[TokenizerOutput], ...] = (
    Check(
        "tokenizer-ids",
        "The tokenizer gives the source's ids",
        "text that means something else to the model",
        _ids,
        safety=True,
    ),
    Check("tokenizer-portable", "Other clients can load the tokenizer", "a model that only MLX can load", _portable),
    Check("stop-complete", "Every file lists all stop ids", "an answer that never ends", _stops),
    Check(
        "ids-in-embedding",
        "Every token id has an embedding row",
        "a crash or noise at a rare word",
        _embedding,
        safety=True,
    ),
)
