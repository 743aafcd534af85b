"""The inside of the child that tries a stranger's tokenizer before anything without limits loads it.

`python -I launch.py ROOT mlx_publish.engine.tame FOLDER SECONDS MEMORY WATCHED`, with the texts in job.json; it ends
with 0 where the tokenizer stayed within the limits, also where it cannot be loaded, which another check tells.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from mlx_publish.children.limits import OUT_OF_MEMORY, PANICKED, limit

_WRITTEN = 1 << 20  # bytes


def main(folder: Path, seconds: float, memory_bytes: int, watched: bool) -> int:
    """Load the tokenizer, let it read all texts and write them back."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    from tokenizers import Tokenizer  # noqa: PLC0415  what it takes itself is not the stranger's

    limit(seconds, memory_bytes, _WRITTEN, watched=watched)
    try:
        made = Tokenizer.from_file(job["tokenizer"])
    except MemoryError:
        return OUT_OF_MEMORY
    except Exception:  # noqa: BLE001  tokenizers raises the bare class
        return 0
    try:
        for text in job["texts"]:
            _read(made, text)
    except MemoryError:
        return OUT_OF_MEMORY
    except BaseException:  # noqa: BLE001  a panic of the library's, which is no Exception
        return PANICKED
    return 0


def _read(made: Any, text: str) -> None:
    """Read a text and write it back; one that cannot be read keeps no other from it, and the check of ids tells it."""
    try:
        made.decode(made.encode(text).ids, skip_special_tokens=False)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001, S110  tokenizers raises the bare class
        pass


if __name__ == "__main__":
    os._exit(main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "watched"))
