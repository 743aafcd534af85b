"""A stranger's tokenizer is tried within limits before MLX's process, which has none as tight, loads it."""

from __future__ import annotations

import random
import shutil
import signal
import stat
import string
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_publish.children import limits
from mlx_publish.children.limits import GARBLED, PANICKED, TOO_SLOW
from mlx_publish.children.once import do_once
from mlx_publish.children.process import python
from mlx_publish.children.worker import Bounds
from mlx_publish.errors import Refused, SurroundingsError
from mlx_publish.evidence.digests import sha256_of
from mlx_publish.source.logits import joined
from mlx_publish.text.temporary import TemporaryFolder

if TYPE_CHECKING:
    from typing_extensions import Self

SECONDS, MEMORY_BYTES, FOR_EACH_BYTE = 60.0, 1 << 30, 40
"""What a tokenizer may take: seconds, and memory besides that for each byte of its file. The largest in use (33 MB)
takes 0.5 GB and three seconds."""
_AHEAD = 64 << 20
"""Bytes of a file that is tried before it was looked at."""
_LONG = 20_000  # characters of a drawn text


class Trial:
    """A tokenizer that is tried in a copy, while there is other work, before the source is laid out."""

    def __init__(self, path: Path) -> None:
        """Copy the file and begin."""
        self._stop = threading.Event()
        self._aside = TemporaryFolder()
        copy = self._aside.path / path.name
        shutil.copyfile(path, copy)
        self._sha256 = sha256_of(copy)
        self._pool = ThreadPoolExecutor(1)
        self._ended = self._pool.submit(_tried, copy, self._stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End it, whether it is done or not."""
        self._stop.set()
        self._pool.shutdown()
        self._aside.cleanup()

    def exit_code(self, path: Path) -> int | None:
        """Return how the child ended; None if the file at `path` is not the one that was tried."""
        return self._ended.result() if sha256_of(path) == self._sha256 else None


def try_ahead(folder: Path) -> Trial | None:
    """Begin to try the tokenizer of a source folder; None where it is better looked at first."""
    path = folder / "tokenizer.json"
    try:
        plain = stat.S_ISREG(path.lstat().st_mode) and path.stat().st_size <= _AHEAD
        return Trial(path) if plain else None
    except OSError:
        return None


def try_tokenizer(source: Path, ahead: Trial | None = None) -> None:
    """Let the tokenizer of a source read texts of many kinds; raise `Refused` if it leaves its limits.

    `ahead` is a trial that was begun before. Folders without a tokenizer.json have older files, which no program of
    rules is in.
    """
    path = source / "tokenizer.json"
    if not path.is_file():
        return
    code = ahead.exit_code(path) if ahead else None
    if code is None:
        code = _tried(path)
    memory = _memory(path)
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


def _memory(path: Path) -> int:
    return MEMORY_BYTES + FOR_EACH_BYTE * path.stat().st_size


def _tried(path: Path, stop: threading.Event | None = None) -> int:
    """Let a child read texts and return how it ended; 0 is well."""
    return _exit_code(path, [*joined().values(), *_drawn(random.SystemRandom())], _memory(path), stop)


def _exit_code(path: Path, texts: Sequence[str], memory: int, stop: threading.Event | None) -> int:
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
    outcome = do_once(command, order, bounds, stop, TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1")
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
