"""The inside of the child that renders: `python -m mlx_publish.chat`, for one order of `chat/child`."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from typing import Any

from mlx_publish.chat.provoking import fill
from mlx_publish.chat.rendering import Rendered, Request, render
from mlx_publish.chat.variables import Reads, read_by
from mlx_publish.children.limits import OUT_OF_MEMORY, limit
from mlx_publish.children.serving import Tell, serve


def do(order: dict[str, Any], tell: Tell) -> None:
    """Render each request and tell its answer, after a first one which says that the limits are in force.

    What the templates of the last reading read fills the slots of the requests behind it.
    """
    limits, templates, reads = order["limits"], order["templates"], Reads()
    try:
        limit(limits["seconds"], limits["memory_bytes"], order["most"], watched=order["watched"])
        tell("limited")
        for entry in order["requests"]:
            if "read" in entry:
                reads = read_by([templates[number] for number in entry["read"]])
                tell({"reads": reads.to_json()})
                continue
            request = Request(**{**entry, "template": templates[entry["template"]]})
            rendering = _rendering(request, reads, limits["characters"])
            tell(vars(rendering))
            if rendering.kind == "unsafe":
                break
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


def _rendering(request: Request, reads: Reads, characters: int) -> Rendered:
    filled = fill(request, reads)
    if filled is None:
        return Rendered(None, "there is nothing to put in", "not-reached")
    # Without a time of its own a template gets the local one without a zone, as in transformers.
    now = datetime.fromisoformat(filled.now) if filled.now else datetime.now(timezone.utc).astimezone()
    return render(filled.template, filled.context, now if filled.now else now.replace(tzinfo=None), characters)


if __name__ == "__main__":
    serve(do)
