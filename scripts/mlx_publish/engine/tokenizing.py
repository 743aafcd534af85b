"""The converted folder's tokenizer beside the source's own: same ids, largest id, stop ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoConfig, AutoTokenizer

from mlx_publish.engine.backends import backend, library
from mlx_publish.engine.loading import warnings_of_loading
from mlx_publish.evidence.conversion import ProbeDifference, TokenizerComparison
from mlx_publish.text.progress import Tell


def own_tokenizer(folder: Path) -> Tokenizer | None:
    """Return what tokenizer.json reads; None if the folder has only older files. Raises what tokenizers raises.

    Truncation and padding are off: a caller of transformers sets both, and here they would cut and fill the ids.
    """
    if not (path := folder / "tokenizer.json").exists():
        return None
    own = Tokenizer.from_file(str(path))
    own.no_truncation()
    own.no_padding()
    return own


Progress = Tell
Encode = Callable[[str], list[int]]
Reference = tuple[tuple[Encode, list[str]], str]
"""The source's encoder and its added tokens, and what they come from."""
# A model may have thousands of reserved tokens beyond its embedding; a few show whether text reaches them.
_BEYOND = 256
_SHOWN = 1000  # characters of an error


def tokenizer(folder: str, plain: str | None, source: str, rows: int | None, progress: Progress) -> TokenizerComparison:
    """Compare the tokenizer of the converted `folder`, as mlx-lm loads it, with the tokenizer.json of `source`.

    `rows` is the number of rows of the embedding, None if that is not known. `plain` is the same folder with the
    class that reads tokenizer.json as it is, None if the folder has it already: it is compared in place of
    `folder` where the class of that one gives other ids.
    """
    progress("loading the tokenizer")
    try:
        reference = _reference(Path(source))
    except Exception as error:  # noqa: BLE001  tokenizers raises the bare class
        return TokenizerComparison(error=_cannot("of the source", error))
    try:
        taken = bool(plain) and _other_ids(Path(folder), reference[0])
        chosen = Path(plain if plain and taken else folder)
        with warnings_of_loading() as warnings:
            try:
                made = backend().load_tokenizer(chosen)
            except Exception as error:  # noqa: BLE001  tokenizers raises the bare class
                return TokenizerComparison(error=_cannot(f"as {library()} reads it", error), plain=taken)
        progress("comparing ids")
        comparison = replace(_look(made, reference, rows), plain=taken, warnings=warnings)
        if comparison.different and reference[1] != "transformers":
            class_of = _class_of(made, chosen, Path(source), set(reference[0][1]))
            comparison = replace(comparison, class_of=class_of)
    except Exception as error:  # noqa: BLE001  a class of tokenizers that does not fit the file breaks at a text
        message = f"the tokenizer cannot read the probe texts: {type(error).__name__}: {error}"
        return TokenizerComparison(error=message[:_SHOWN])
    return comparison


def _class_of(made: Any, folder: Path, source: Path, added: set[str]) -> str | None:
    """Return what makes the class that overrules tokenizer.json: the `source`, or the model `type` for mlx-lm.

    `made` is the tokenizer of `folder`. transformers 5 takes a class by the model type, as Qwen2Tokenizer, which brings
    a normalizer of its own. None where the folder's ids are those of neither, or where the files contradict each other
    about the tokens `added`.
    """
    with warnings_of_loading():
        for name, settings in (("source", {}), ("type", {"config": folder})):
            try:
                more = {key: AutoConfig.from_pretrained(str(path)) for key, path in settings.items()}
                theirs = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False, **more)
            except Exception:  # noqa: BLE001  then there is nothing to agree with
                return None
            comparison = _compare(_probes(made, _added(theirs)), _encoder(made), _encoder(theirs))
            if not comparison.different and set(_added(theirs)) == added:
                return name
    return None


def _cannot(which: str, error: Exception) -> str:
    return f"the tokenizer {which} cannot be loaded: {type(error).__name__}: {error}"[:_SHOWN]


def _other_ids(folder: Path, reference: tuple[Encode, list[str]]) -> bool:
    """Return whether the folder's class gives other ids than the source's.

    The class is asked through transformers alone, which takes half the time of mlx-lm's way to the same ids.
    """
    with warnings_of_loading():
        try:
            made = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        except Exception:  # noqa: BLE001  it comes up again, and is reported, when mlx-lm loads it
            return False
    theirs, added = reference
    return _compare(_probes(made, added), _encoder(made), theirs).different > 0


def _look(made: Any, reference: Reference, rows: int | None) -> TokenizerComparison:
    (theirs, added), kind = reference
    encode = _encoder(made)
    probes = _probes(made, added)
    probes |= _beyond(made, encode, rows) if rows is not None else {}
    lost = [name for name, text in probes.items() if made.decode(encode(text)) != text]
    return replace(
        _compare(probes, encode, theirs),
        reference=kind,
        round_trip=len(probes) - len(lost),
        not_given_back=lost[:5],
        vocabulary=1 + max(made.get_vocab().values(), default=-1),
        stop_ids=sorted(made.eos_token_ids),
    )


def probe_texts() -> dict[str, str]:
    """Return the probe set by name: scripts, code, white space, numbers, emoji."""
    texts: dict[str, str] = json.loads(files("mlx_publish").joinpath("data/probes.json").read_text(encoding="utf-8"))
    return texts


def _probes(made: Any, added: Iterable[str]) -> dict[str, str]:
    return {**probe_texts(), **_special_probes(_added(made)), **_special_probes(added)}


def reference_of(source: Path) -> Encode:
    """Return the source's own encoder, without special tokens around the text."""
    return _reference(source)[0][0]


def _reference(source: Path) -> Reference:
    """Return the source's encoder and its added tokens: by its tokenizer.json, or by transformers from older files."""
    raw = own_tokenizer(source)
    if raw is None:
        older = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False)
        return (_encoder(older), _added(older)), "transformers"
    added = [token.content for token in raw.get_added_tokens_decoder().values()]
    return (lambda text: list(raw.encode(text, add_special_tokens=False).ids), added), "tokenizer.json"


def _encoder(made: Any) -> Encode:
    return lambda text: [int(id_) for id_ in made.encode(text, add_special_tokens=False)]


def _added(made: Any) -> list[str]:
    return [str(token) for token in made.added_tokens_decoder.values()]


def _special_probes(tokens: Iterable[str]) -> dict[str, str]:
    probes = {}
    for token in tokens:
        probes[f"{token} alone"] = token
        probes[f"{token} inside"] = f"one {token} two{token}three"
    return probes


def _beyond(made: Any, encode: Encode, rows: int) -> dict[str, str]:
    """Return texts of tokens that the embedding has no row for, where such a text leads to such an id."""
    ids = sorted(id_ for id_ in made.get_vocab().values() if id_ >= rows)[:_BEYOND]
    texts = {f"id {id_}": made.decode([id_]) for id_ in ids}
    return {name: text for name, text in texts.items() if max(encode(text), default=0) >= rows}


def _compare(probes: Mapping[str, str], encode: Encode, reference: Encode) -> TokenizerComparison:
    first, different, largest, where = None, 0, -1, ""
    for name, text in probes.items():
        ours, theirs = encode(text), reference(text)
        if max(ours, default=-1) > largest:
            largest, where = max(ours), name
        if ours != theirs:
            different += 1
            if first is None:
                length = min(len(ours), len(theirs))
                position = next((n for n in range(length) if ours[n] != theirs[n]), length)
                part = slice(max(0, position - 2), position + 6)
                first = ProbeDifference(name, text[:200], position, ours[part], theirs[part])
    return TokenizerComparison(
        probes=len(probes), different=different, first=first, largest_id=largest, largest_probe=where
    )
