"""Find a Python that has torch, and let it compare in a child process. What fails there is a reason, not an error."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import mlx_publish
from mlx_publish.children import process
from mlx_publish.children.environment import of_a_child
from mlx_publish.children.limits import TOO_SLOW
from mlx_publish.children.worker import Bounds, Ended, Worker
from mlx_publish.text.temporary import TemporaryFolder

if TYPE_CHECKING:
    from typing_extensions import Self

VARIABLE = "MLX_PUBLISH_REFERENCE_PYTHON"
NOT_INSTALLED = (
    "torch is not installed: run 'sh scripts/bootstrap.sh -s reference' in a checkout of mlx-publish, "
    "or pip install torch 'transformers>=5'"
)
OLDEST_TRANSFORMERS = 5  # the first that reads both spellings of rope
_PACKAGES = ("torch", "transformers")
_ASK = "import json; from importlib.metadata import version as v; print(json.dumps({n: v(n) for n in %r}))"
_LIMIT = 3 * 3600.0  # seconds


@dataclass(frozen=True)
class Torch:
    """A Python that has torch and transformers, with their versions; or the `reason` for which there is none."""

    python: Path
    versions: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Answer:
    """What the child returns, plain data of a record of `evidence/proof.py`, or the `reason` for which it does not."""

    result: Mapping[str, object] | None
    reason: str = ""


def find_torch() -> Torch:
    """Return the Python that MLX_PUBLISH_REFERENCE_PYTHON names, else this one."""
    given = os.environ.get(VARIABLE)
    torch = _named(Path(given)) if given else _here()
    version = torch.versions.get("transformers", "")
    if not torch.reason and int(version.split(".")[0]) < OLDEST_TRANSFORMERS:
        return replace(torch, reason=f"transformers {version} is too old: {OLDEST_TRANSFORMERS} is needed")
    return torch


def compare(torch: Torch, source: Path, logits: Path, log: Path, limit: float = _LIMIT) -> Answer:
    """Compare the model in `source`, as transformers reads it, with `logits`, a file of `engine/reference_logits`.

    What the child prints goes to `log`. It may take `limit` seconds; nothing outlives it.
    """
    if torch.reason:
        return Answer(None, torch.reason)
    with TorchChild(torch, log) as child:
        return child.ask({"source": str(source), "logits": str(logits)}, limit)


class TorchChild:
    """A child process with torch that answers one order after the other; to load torch takes seconds."""

    def __init__(self, torch: Torch, log: Path) -> None:
        """Remember what to start; what it prints goes to `log`."""
        self._torch, self._log = torch, log
        self._worker: Worker | None = None
        self._reason = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self) -> str:
        """Start it ahead of its first order. Returns why that is not possible; empty if it is."""
        if self._worker is not None or self._reason:
            return self._reason
        aside = TemporaryFolder()
        # Another Python finds nothing of this one's packages but this one.
        root = aside.path / "package"
        root.mkdir()
        (root / "mlx_publish").symlink_to(Path(mlx_publish.__file__).resolve().parent)
        words = process.python("mlx_publish.torch_check", executable=self._torch.python, root=root)
        try:
            self._worker = Worker(aside, words, _environment(aside.path), self._log)
        except OSError as error:
            aside.cleanup()
            self._reason = f"the child with torch failed: {error}"
        return self._reason

    def ask(self, order: Mapping[str, object], limit: float) -> Answer:
        """Give an order and wait `limit` seconds for its answer; a child that took longer is ended."""
        if (reason := self.start()) or self._worker is None:
            return Answer(None, reason)
        try:
            return Answer(**{"result": None, **self._worker.do(order, Bounds(limit))})
        except Ended as end:
            self._reason = _reason(end.code, limit, self._log)
            self._worker.end()
            return Answer(None, self._reason)

    def end(self) -> None:
        """End it with all that it started; nothing stays of its folder."""
        if self._worker is not None:
            self._worker.end()


def _here() -> Torch:
    python = Path(sys.executable)
    if not all(importlib.util.find_spec(name) for name in _PACKAGES):
        return Torch(python, reason=NOT_INSTALLED)
    return Torch(python, {name: importlib.metadata.version(name) for name in _PACKAGES})


def _named(python: Path) -> Torch:
    words = [str(python), "-I", "-c", _ASK % (_PACKAGES,)]
    try:
        with TemporaryFolder() as folder:
            versions = process.ask(words, of_a_child(folder), folder, seconds=60)
        if versions.code:
            return Torch(python, reason=f"{python} (from {VARIABLE}) does not have torch and transformers")
        return Torch(python, json.loads(versions.out))
    except (*process.FAILED, ValueError) as error:
        return Torch(python, reason=f"{VARIABLE} is not a Python: {error}")


def _environment(folder: Path) -> dict[str, str]:
    """Return an environment without a token and without a network."""
    return of_a_child(
        folder,
        HF_HOME=str(folder / "hub"),
        HF_HUB_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
        TORCHINDUCTOR_CACHE_DIR=str(folder / "inductor"),
    )


def _reason(code: int, limit: float, log: Path) -> str:
    if code == TOO_SLOW:
        return f"the child with torch timed out after {limit:g} seconds"
    if code == -signal.SIGKILL:
        return "the child with torch was killed, most likely because memory ran out"
    how = f"died of signal {-code}" if code < 0 else f"ended with {code}"
    words = log.read_text(errors="replace").strip().rpartition("\n")[2][:300]
    return f"the child with torch {how}: {words or 'no output'}"
