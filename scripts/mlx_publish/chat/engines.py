"""The engines besides Python's jinja2 that clients render chat templates with, each in a child process.

`minijinja` stands for servers written in Rust, `@huggingface/jinja` for transformers.js and what is built on it. Both
are optional. A template is a stranger's program: it gets no tokens, little time and little memory.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import math
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import mlx_publish
from mlx_publish.chat.child import ANSWERS_BYTES
from mlx_publish.chat.rendering import Rendered
from mlx_publish.chat.sandbox import CHARACTERS
from mlx_publish.children import limits
from mlx_publish.children.limits import OUT_OF_MEMORY, TOO_LONG, TOO_SLOW
from mlx_publish.children.once import Outcome, do_once
from mlx_publish.children.process import program, python
from mlx_publish.children.worker import Bounds
from mlx_publish.errors import SurroundingsError

ENGINES = ("minijinja", "huggingface-jinja")
MEMORY = 1 << 30  # bytes
REMEDIES = {
    "minijinja": "pip install minijinja",
    "huggingface-jinja": "Install Node.js, npm install @huggingface/jinja in some folder, and name that folder "
    "in MLX_PUBLISH_NODE_MODULES.",
}
_PACKAGE = Path("node_modules") / "@huggingface" / "jinja" / "package.json"
_SCRIPT = Path(mlx_publish.__file__).resolve().parent / "data" / "render.mjs"
# The limit of CPU time is for the day on which this process is killed outright and its child goes on alone.
_LIMITED = 'ulimit -c 0; ulimit -t "$1"; ulimit -v "$2" 2>/dev/null; shift 2; exec "$@"'


def available() -> Mapping[str, str]:
    """Return the version of each engine that is installed."""
    versions: dict[str, str] = {}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        versions["minijinja"] = importlib.metadata.version("minijinja")
    if (modules := _modules()) is not None and program("node"):
        versions["huggingface-jinja"] = str(json.loads((modules / _PACKAGE).read_text(encoding="utf-8"))["version"])
    return versions


def render_with(
    engine: str, requests: Sequence[tuple[str, Mapping[str, object]]], now: datetime, seconds: float
) -> list[Rendered]:
    """Render every (template, context) of JSON data in one child that may take `seconds`, its clock at `now`.

    An error is "refused" for raise_exception, "unsafe" for the request at which the child ended, "not-reached" behind
    it, and else "broken"; its line is there where the engine names one.
    Raises `SurroundingsError` if the engine is not installed or does not start, never for what a template does.
    """
    if engine not in available():
        raise SurroundingsError(f"the engine {engine} is not installed here", remedy=REMEDIES[engine])
    if not requests:
        return []
    # Numbers in place of templates, which are large and asked for many times.
    numbers = {template: number for number, template in enumerate(dict.fromkeys(template for template, _ in requests))}
    order = {
        "now": now.replace(tzinfo=None).isoformat(),
        "longest": CHARACTERS,
        "templates": list(numbers),
        "requests": [(numbers[template], context) for template, context in requests],
    }
    bounds = Bounds(seconds, MEMORY if limits.WATCHED else None, ANSWERS_BYTES)
    # Names of months and the hour are the same on every machine.
    outcome = do_once(_command(engine, seconds), order, bounds, LC_ALL="C.UTF-8", LANG="C.UTF-8", TZ="UTC")
    why = _why(outcome, seconds)
    if not outcome.reports:
        raise SurroundingsError(f"the engine {engine} {why} before it was loaded", remedy=REMEDIES[engine])
    answers = [Rendered(**{"text": None, "error": None, "kind": "text", **entry}) for entry in outcome.reports[1:]]
    if len(answers) < len(requests):
        answers.append(Rendered(None, f"the engine {why}", "unsafe"))
    later = Rendered(None, f"not rendered, because at one before it the engine {why}", "not-reached")
    return [*answers, *[later] * (len(requests) - len(answers))]


def _command(engine: str, seconds: float) -> list[str]:
    """Return the command line of an engine, within limits of CPU time and of kilobytes of addresses."""
    if engine == "minijinja":
        addresses, command = str(MEMORY >> 10), python("mlx_publish.chat.minijinja_child")
    else:
        # Node takes far more addresses than memory, so its own limit has to do.
        heap = f"--max-old-space-size={MEMORY >> 21}"
        addresses, command = "unlimited", [program("node") or "node", heap, str(_SCRIPT), str(_modules())]
    return ["/bin/sh", "-c", _LIMITED, "sh", str(math.ceil(4 * seconds) + 1), addresses, *command]


def _why(outcome: Outcome, seconds: float) -> str:
    """Say how the child ended, for the case that answers are missing."""
    if outcome.code == OUT_OF_MEMORY:
        return f"took more than {MEMORY >> 20} MB of memory"
    if outcome.code == TOO_SLOW:
        return f"did not end within {seconds:g} s"
    if outcome.code == TOO_LONG:
        return f"wrote more than {ANSWERS_BYTES:,} bytes in all"
    lines = outcome.printed.strip().splitlines()
    words = next((line for line in lines if "memory" in line), lines[-1] if lines else "nothing")
    return f"ended with {outcome.code} and said {words.strip()[:200]}"


def _modules() -> Path | None:
    """Return the folder whose node_modules are taken, which MLX_PUBLISH_NODE_MODULES names.

    Node itself would look into the current one, whose packages may be those of a model or a branch.
    """
    given = os.environ.get("MLX_PUBLISH_NODE_MODULES")
    return Path(given).resolve() if given and (Path(given) / _PACKAGE).is_file() else None
