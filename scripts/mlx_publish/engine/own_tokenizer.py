"""The source's tokenizer.json as it is: classes of transformers may read it differently."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer


def own_tokenizer(folder: Path) -> Tokenizer | None:
    """Read it; None where the folder has only older files. Raises what tokenizers raises for a broken file.

    Truncation and padding are off: a caller of transformers sets both, and here they would cut and fill the ids.
    """
    if not (path := folder / "tokenizer.json").exists():
        return None
    found = Tokenizer.from_file(str(path))
    found.no_truncation()
    found.no_padding()
    return found
