"""The inside of the child that tries a stranger's tokenizer before anything without limits loads it."""

from __future__ import annotations

from typing import Any

from mlx_publish.children.limits import OUT_OF_MEMORY, PANICKED, limit
from mlx_publish.children.serving import Tell, serve

_WRITTEN = 1 << 20  # bytes


def do(order: dict[str, Any], _tell: Tell) -> int:
    """Load the tokenizer, let it read all texts and write them back; returns 0 where it stayed within the limits.

    That is also so where it cannot be loaded, which another check reports.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415  what it takes itself is not the stranger's

    limit(order["seconds"], order["memory_bytes"], _WRITTEN, watched=order["watched"])
    try:
        made = Tokenizer.from_file(order["tokenizer"])
    except MemoryError:
        return OUT_OF_MEMORY
    except Exception:  # noqa: BLE001  tokenizers raises the bare class
        return 0
    try:
        for text in order["texts"]:
            _read(made, text)
    except MemoryError:
        return OUT_OF_MEMORY
    except BaseException:  # noqa: BLE001  a panic of the library's, which is no Exception
        return PANICKED
    return 0


def _read(made: Any, text: str) -> None:
    """Read a text and write it back; one that cannot be read is skipped: the check of ids reports it."""
    try:
        made.decode(made.encode(text).ids, skip_special_tokens=False)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001, S110  tokenizers raises the bare class
        pass


if __name__ == "__main__":
    serve(do)
