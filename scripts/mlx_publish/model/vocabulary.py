"""The tokens of a tokenizer.json and their ids, without loading a library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlx_publish.errors import Refused


@dataclass(frozen=True)
class Vocabulary:
    """Ids by token: of the model's own pieces and of what was added to them."""

    pieces: Mapping[str, int]
    added: Mapping[str, int]

    @property
    def last(self) -> tuple[str, int] | None:
        """Return the token with the largest id, or None if there is no token."""
        largest = [max(part.items(), key=lambda item: item[1]) for part in (self.pieces, self.added) if part]
        return max(largest, key=lambda item: item[1], default=None)

    def id_of(self, token: str) -> int | None:
        """Return the id of a token by its text."""
        return self.added.get(token, self.pieces.get(token))


def read_vocabulary(tokenizer: Mapping[str, object]) -> Vocabulary:
    """Return the tokens of a parsed tokenizer.json. Raises `Refused` if its parts are not what they should be."""
    model: Any = tokenizer.get("model") or {}
    try:
        added: Any = tokenizer.get("added_tokens") or []
        ids = {_content(token): _id(token["id"]) for token in added}
        return Vocabulary(dict(_pieces(model.get("vocab") or {})), ids)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise Refused("its vocabulary cannot be read", place="tokenizer.json") from error


def read_decoder(tokenizer_config: Mapping[str, object]) -> dict[str, int]:
    """Return ids by token of `added_tokens_decoder`. Raises `Refused` if it is no list of tokens by their ids."""
    try:
        listed: Any = tokenizer_config.get("added_tokens_decoder") or {}
        return {_content(token): int(id_) for id_, token in listed.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Refused(
            "its added_tokens_decoder cannot be read", place="tokenizer_config.json", remedy="Fix it in the source."
        ) from error


def _pieces(vocab: Any) -> Iterator[tuple[str, int]]:
    """Yield pieces and ids: BPE and WordPiece keep ids by piece, Unigram a list of pieces with their scores."""
    if isinstance(vocab, list):
        return ((_text(piece[0]), id_) for id_, piece in enumerate(vocab))
    return ((piece, _id(id_)) for piece, id_ in vocab.items())


def _content(token: Any) -> str:
    return _text(token["content"])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a token is a text")
    return value


def _id(value: object) -> int:
    if type(value) is not int:
        raise TypeError("an id is a whole number")
    return value
