"""The tokenizer's files load in clients old and new; where they do not, `model.portable` knows what to write."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlx_publish.errors import Refused
from mlx_publish.hooks.model_folder import ModelFolder
from mlx_publish.hooks.problem import Problem, problems_of
from mlx_publish.model.draft import CONFIG, FAST, SPECIAL, read_object
from mlx_publish.model.portable import Repaired, portable

_FIX = "Run the hook with --fix."
# The vocabulary, in any of its forms; git may hold the small files of a model without it.
_VOCABULARY = re.compile(r"tokenizer\.json|.*\.model|.*\.tiktoken|vocab\.(json|txt)")
_STAND_INS = {FAST: b"{}", "tokenizer.model": b"", "spiece.model": b""}


def portability(model: ModelFolder, *, fix: bool) -> Iterator[Problem]:
    """Yield what keeps clients from loading the tokenizer; with `fix` it is mended."""
    if model.json(CONFIG) is None:
        return
    files = model.tokenizer_files()
    if not any(_VOCABULARY.fullmatch(path) for path in files):
        files |= _STAND_INS
    try:
        repaired = portable(files)
    except Refused as error:
        yield from problems_of(error, model.folder / CONFIG)
        return
    for change in repaired.changes:
        name, key = _place(model, change)
        said = change if fix else f"some clients cannot load it; --fix makes it so: {change}"
        yield model.problem(name, key, said, _FIX, fixed=fix)
    if fix:
        _write(model, repaired)


def _write(model: ModelFolder, repaired: Repaired) -> None:
    for name, data in repaired.files.items():
        if name in (CONFIG, SPECIAL) and name in model.names:
            model.rewrite(name, read_object(name, data))
        else:
            model.put(name, data)


def _place(model: ModelFolder, change: str) -> tuple[str, str]:
    """File and key that the words of a change are about."""
    marked = re.search(r"mark removed from (\S+\.json)", change)
    name = marked[1] if marked else SPECIAL if SPECIAL in change else CONFIG
    if name not in model.names:
        return CONFIG, ""
    words = re.findall(r"\w+", change)
    keys = (model.json(name) or {}).keys() if name in (CONFIG, SPECIAL) else ()
    return name, next((word for word in words if word in keys), "")
