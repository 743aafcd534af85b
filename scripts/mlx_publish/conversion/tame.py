"""A stranger's tokenizer is tried within limits before MLX's process, which has none as tight, loads it."""

from __future__ import annotations

import random
import signal
import string
from collections.abc import Sequence
from pathlib import Path

from mlx_publish.children import limits
from mlx_publish.children.limits import GARBLED, PANICKED, TOO_SLOW
from mlx_publish.children.once import do_once
from mlx_publish.children.process import python
from mlx_publish.children.worker import Bounds
from mlx_publish.errors import Refused, SurroundingsError
from mlx_publish.source.logits import texts as passages

SECONDS, MEMORY_BYTES, FOR_EACH_BYTE = 60.0, 1 << 30, 40
"""What a tokenizer may take: seconds, and memory besides that for each byte of its file. The largest in use (33 MB)
takes 0.5 GB and three seconds."""
_LONG = 20_000  # characters of a drawn text


def try_tokenizer(source: Path) -> None:
    """Let the tokenizer of a source read texts of many kinds; raise `Refused` if it leaves its limits.

    Folders without a tokenizer.json have older files, which no program of rules is in.
    """
    path = source / "tokenizer.json"
    if not path.is_file():
        return
    memory = MEMORY_BYTES + FOR_EACH_BYTE * path.stat().st_size
    texts = [text for text in passages().values() if isinstance(text, str)]
    code = _exit_code(path, [*texts, *_drawn(random.SystemRandom())], memory)
    if code == 0:
        return
    slow = f"does not end within {SECONDS:g} s"
    how = {TOO_SLOW: slow, -signal.SIGXCPU: slow, PANICKED: "breaks the library that reads it"}
    large = f"takes more than {memory >> 20:,} MB of memory"
    raise Refused(
        f"the tokenizer {how.get(code, large)} where it reads a few pages of text",
        check="tokenizer-tame",
        place="tokenizer.json",
        remedy="Check its normalizer, pre_tokenizer and added_tokens; no client should load it like this.",
    )


def _exit_code(path: Path, texts: Sequence[str], memory: int) -> int:
    """Let a child read the texts and return how it ended; 0 is well."""
    order = {
        "tokenizer": str(path.resolve()),
        "texts": texts,
        "seconds": SECONDS,
        "memory_bytes": memory,
        "watched": limits.WATCHED,
    }
    bounds = Bounds(2 * SECONDS, 2 * memory if limits.WATCHED else None)
    command = python("mlx_publish.engine.tame")
    outcome = do_once(command, order, bounds, TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1")
    if outcome.code in (1, GARBLED):  # Python itself failed: nothing that a tokenizer does ends with this code
        raise SurroundingsError(
            f"the child that tries the tokenizer failed: {outcome.last_line[:300]}",
            remedy="Run the same command again.",
        )
    return outcome.code or int(outcome.answer)


def _drawn(dice: random.Random) -> list[str]:
    """Return texts that nobody could know before: letters, digits, white space, all planes, one character repeated."""
    letters, planes = string.ascii_letters + string.digits + string.punctuation + " \n\t", range(0x20, 0x1F700)
    signs = [chr(code) for code in planes if not 0xD800 <= code < 0xE000]
    return [
        "".join(dice.choices(letters, k=_LONG)),
        "".join(dice.choices(signs, k=_LONG // 4)),
        *(sign * (_LONG // 2) for sign in (" ", "\n", dice.choice(string.ascii_lowercase), dice.choice(string.digits))),
    ]
