"""The child's side: orders come line by line, and messages about them go back line by line.

The pipe to the parent is out of the libraries' sight: what they print goes to the log. Nothing outlives the parent,
for the end of the orders ends this process, also in the midst of one.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NoReturn

Tell = Callable[[Any], None]
Do = Callable[[dict[str, Any], Tell], Any]
"""Does what an order says, tells how it goes, and returns the answer; all of it is plain data."""
INTERRUPTED = 130


def serve(do: Do, ahead: Callable[[], object] = lambda: None) -> NoReturn:
    """Do one order after the other; `ahead` uses the time until the first one. What they raise ends this process."""
    code = 1
    try:
        _serve(do, ahead)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException:  # noqa: BLE001  a panic of a library's is no Exception
        with contextlib.suppress(OSError):  # the log is on a disk that may be full
            traceback.print_exc()
    # Freeing what a model of gigabytes holds, piece by piece, serves nobody.
    os._exit(code)


def _serve(do: Do, ahead: Callable[[], object]) -> None:
    given, taken = _pipes()
    orders: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_read, args=(given, orders), daemon=True).start()

    def send(kind: str, value: Any) -> None:
        taken.write(json.dumps({kind: value}).encode() + b"\n")
        taken.flush()

    ahead()
    while True:
        send("done", do(json.loads(orders.get()), lambda value: send("said", value)))


def _pipes() -> tuple[Any, Any]:
    """Take the pipes of the parent away from standard input and output; what this process starts has none of them."""
    given, taken = open(os.dup(0), "rb"), open(os.dup(1), "wb")  # noqa: PTH123, SIM115  they stay open
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123  a descriptor, not a path
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return given, taken


def _read(given: Any, orders: SimpleQueue[bytes]) -> None:
    """Read ahead of the work, so that the end of the orders is noticed while it goes on."""
    for line in given:
        orders.put(line)
    os._exit(1)
