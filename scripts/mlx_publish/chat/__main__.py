"""The inside of the child that renders: `python -m mlx_publish.chat`, for one order of `chat/child`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from mlx_publish.chat.provoking import fill
from mlx_publish.chat.rendering import Rendered, render
from mlx_publish.chat.variables import Reads, read_by
from mlx_publish.children.limits import OUT_OF_MEMORY, limit
from mlx_publish.children.serving import Tell, serve


def do(order: dict[str, Any], tell: Tell) -> None:
    """Render what is asked for and tell each answer; that of the limits, the first, is that they are there."""
    limits = order["limits"]
    try:
        limit(limits["seconds"], limits["memory_bytes"], order["most"], watched=order["watched"])
        tell("limited")
        for answer in answers(order["requests"], order["templates"], limits["characters"]):
            tell(answer)
            if answer.get("kind") == "unsafe":
                break
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


def answers(
    requests: Sequence[Mapping[str, Any]], templates: Sequence[str], characters: int
) -> Iterator[dict[str, Any]]:
    """Yield an answer for each request; what the last reading found fills the slots of those behind it."""
    reads = Reads()
    for request in requests:
        if "read" in request:
            reads = read_by([templates[number] for number in request["read"]])
            yield {"reads": reads.to_json()}
        elif (filled := fill(request, reads)) is None:
            yield vars(Rendered(None, "there is nothing to put in", "not-reached"))
        else:
            template = templates[filled["template"]]
            yield vars(render(template, filled["context"], _time(filled["now"]), characters))


def _time(text: str | None) -> datetime:
    """The time that a template is told; like in transformers without a zone where none is asked for."""
    return datetime.fromisoformat(text) if text else datetime.now(timezone.utc).astimezone().replace(tzinfo=None)


if __name__ == "__main__":
    serve(do)
