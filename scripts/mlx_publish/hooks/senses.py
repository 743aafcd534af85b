"""What config.json says that a model takes beside text, held against the tensors that lie beside it."""

from __future__ import annotations

from collections.abc import Iterator

from mlx_publish.errors import Fault, Refused
from mlx_publish.hooks.model_folder import ModelFolder
from mlx_publish.model.draft import MODEL
from mlx_publish.model.senses import in_words, is_language, kinds_in, senses_in
from mlx_publish.model.weights import INDEX, read_header, weight_map

_WHOLE = "Publish all parts of the model, or convert it with modality: text, which leaves the key out."


def senses(model: ModelFolder) -> Iterator[Fault]:
    """Yield a key of config.json that describes an encoder of which no tensor is there: a model that lost its eyes.

    Where git has neither the index nor the weights, nothing is known.
    """
    names = _tensors(model) if model.config else ()
    towers = [name for name in names if not is_language(name)]
    if names and all(kinds_in([name]) for name in towers):
        there = kinds_in(towers)
        for key in senses_in(model.config or {}):
            if kinds_in([key]) and not kinds_in([key]) & there:
                message = f"describes an encoder for {in_words([key])}, but none of the {len(names)} tensors is of one"
                yield model.fault(MODEL, key, message, _WHOLE)


def _tensors(model: ModelFolder) -> tuple[str, ...]:
    """Return the names of all tensors, by the index or else by the headers; none if one of them is not there."""
    try:
        if index := model.json(INDEX):
            return tuple(weight_map(index))
        names = list[str]()
        for name in sorted(name for name in model.names if name.endswith(".safetensors")):
            names += [tensor.name for tensor in read_header(model.folder / name)]
        return tuple(names)
    except Refused:  # pointers of git-lfs, or what is broken, of which others speak
        return ()
