"""The inside of the child process: `python -m mlx_publish.chat FOLDER`, with job.json in the folder."""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mlx_publish.chat.child import ANSWERS_BYTES
from mlx_publish.chat.provoking import fill
from mlx_publish.chat.rendering import Rendered, render
from mlx_publish.chat.variables import Reads, read_by
from mlx_publish.children.limited import DISK_FAILED, TOO_LONG
from mlx_publish.children.limits import OUT_OF_MEMORY, limit


def main(folder: Path) -> int:
    """Render what job.json asks for, a line of `answers` each; the file is there as soon as the limits are."""
    job = json.loads((folder / "job.json").read_bytes())
    limits = job["limits"]
    limit(limits["seconds"], limits["memory_bytes"], ANSWERS_BYTES, watched=job["watched"])
    with (folder / "answers").open("wb") as answers:
        for answer in _answers(job["requests"], job["templates"], limits["characters"]):
            answers.write(json.dumps(answer).encode() + b"\n")
            answers.flush()
            if answer.get("kind") == "unsafe":
                break
    return 0


def _answers(
    requests: Sequence[Mapping[str, Any]], templates: Sequence[str], characters: int
) -> Iterator[dict[str, Any]]:
    """Yield an answer for each request; what the last reading found fills the slots of those behind it."""
    found = Reads()
    for request in requests:
        if "read" in request:
            found = read_by([templates[number] for number in request["read"]])
            yield {"reads": found.to_json()}
        elif (filled := fill(request, found)) is None:
            yield vars(Rendered(None, "there is nothing to put in", "not-reached"))
        else:
            template = templates[filled["template"]]
            yield vars(render(template, filled["context"], _time(filled["now"]), characters))


def _time(text: str | None) -> datetime:
    """The time that a template is told; like in transformers without a zone where none is asked for."""
    return datetime.fromisoformat(text) if text else datetime.now(timezone.utc).astimezone().replace(tzinfo=None)


def _guarded(folder: Path) -> int:
    try:
        return main(folder)
    except MemoryError:
        return OUT_OF_MEMORY
    except OSError as error:
        traceback.print_exc()
        return TOO_LONG if error.errno == errno.EFBIG else DISK_FAILED


if __name__ == "__main__":
    os._exit(_guarded(Path(sys.argv[1])))
