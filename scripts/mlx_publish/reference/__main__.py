"""The inside of the child process: `python -m mlx_publish.reference FOLDER PARENT`, with orders in the folder.

It answers job.N.json in result.N.json, in their order, until it is ended, at the latest with the process PARENT. It
runs in any Python that has torch and transformers.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_publish.reference.comparing import Comparison
from mlx_publish.reference.twin import compare as compare_twin
from mlx_publish.reference.twin import make

_LONGEST = 300  # characters of a reason
_MEMORY = 12 << 30  # bytes of address space that a twin may take


class NoReferenceError(Exception):
    """Transformers does not compute this model here; that is no verdict on MLX."""


def main(folder: Path, parent: int) -> int:
    """Answer orders, each complete or not at all, until the folder or the parent is gone."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    for number in itertools.count():
        job = folder / f"job.{number}.json"
        if number == 0 and not job.exists():
            _load_ahead()
        while not job.exists():
            if not folder.exists():
                return 0
            time.sleep(0.01)
        aside = folder / "result.new"
        aside.write_text(json.dumps(answer(json.loads(job.read_text()))))
        aside.replace(folder / f"result.{number}.json")
    return 0


def _load_ahead() -> None:
    """Use the time until the first order: these take seconds."""
    with contextlib.suppress(Exception):  # it comes up again, and is told, with the order
        import torch  # noqa: F401, PLC0415, TID251
        import transformers  # noqa: F401, PLC0415, TID251


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.1)
    os._exit(1)


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """Return the `result` of an order, or the `reason` for which there is none."""
    try:
        return {"result": _ORDERS[job.get("op", "compare")](**{key: job[key] for key in job if key != "op"})}
    except NoReferenceError as error:
        traceback.print_exc()
        return {"reason": str(error)}


def compare(source: str, logits: str) -> dict[str, Any]:
    """Load the model in `source` with transformers and compare its logits with those in the file `logits`.

    Both on the CPU in float32; `engine/reference_logits` says what is in the file. `beyond_context` is the same
    comparison with the frequencies that longrope has for long texts, None where the model has one set only.
    `not_covered` names what shows only in texts longer than these.
    """
    model = _load(source)
    text = model.config.get_text_config()
    longer, longest = _original_context(text), 0
    within, beyond = Comparison(), Comparison()
    for ids, found in _sequences(logits):
        longest = max(longest, len(ids))
        within.add(found, _logits(model, ids))
        if longer:
            beyond.add(found, _logits(model, ids, longer))
    return {
        **within.result(),
        "class": type(model).__name__,
        "beyond_context": {"original_context": longer, **beyond.result()} if longer else None,
        "not_covered": _not_covered(text, longest),
    }


@contextlib.contextmanager
def _reasons() -> Iterator[None]:
    """Of whatever a strange config makes of transformers, make a reason."""
    try:
        yield
    except Exception as error:
        raise NoReferenceError(_reason(error)) from error


@_reasons()
def _load(source: str) -> Any:
    import torch  # noqa: PLC0415, TID251
    from transformers import AutoModelForCausalLM  # noqa: PLC0415, TID251

    model, told = AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.float32, attn_implementation="eager", use_safetensors=True, local_files_only=True,
        trust_remote_code=False, output_loading_info=True,
    )  # fmt: skip
    if missing := sorted(str(key) for key in (*told["missing_keys"], *told["mismatched_keys"])):
        raise ValueError(f"it finds no weights for {', '.join(missing[:3])}, which would be random")
    return model.eval()


def _original_context(config: Any) -> int | None:
    """Positions from which on longrope takes its other factors."""
    rope = getattr(config, "rope_parameters", None) or {}
    return int(rope["original_max_position_embeddings"]) if rope.get("rope_type") == "longrope" else None


def _not_covered(config: Any, longest: int) -> list[str]:
    rope = getattr(config, "rope_parameters", None) or {}
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    found = []
    if window and window >= longest:
        found.append(f"the sliding window of {window} positions")
    if rope.get("rope_type") == "dynamic":
        found.append(f"rope beyond {config.max_position_embeddings} positions")
    return found


def _sequences(path: str) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
    from safetensors import safe_open  # noqa: PLC0415

    with safe_open(path, framework="numpy") as file:
        for number in range(len(file.keys()) // 2):
            yield [int(id_) for id_ in file.get_tensor(f"ids.{number}")], file.get_tensor(f"logits.{number}")


@_reasons()
def _logits(model: Any, ids: list[int], longer: int | None = None) -> NDArray[np.float32]:
    """Of every position, (positions, vocabulary).

    With `longer` a token at that position is put behind, which makes a long text of it; the others do not see it.
    """
    import torch  # noqa: PLC0415, TID251

    places = [*range(len(ids)), longer] if longer else list(range(len(ids)))
    read = [*ids, ids[-1]] if longer else ids
    with torch.inference_mode():
        told = model(input_ids=torch.tensor([read]), position_ids=torch.tensor([places]), use_cache=False)
    found: NDArray[np.float32] = told.logits[0, : len(ids)].float().numpy()
    return found


@_reasons()
def _twin(config: dict[str, Any], folder: str) -> dict[str, Any]:
    """Make a twin; its sizes are bounded, and so is what a strange config may take."""
    with contextlib.suppress(ValueError, OSError):  # a lower hard limit stays
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.RLIM_INFINITY))
    return make(config, Path(folder))


@_reasons()
def _compare_twin(read: str, folder: str) -> dict[str, Any]:
    return compare_twin(Path(read), Path(folder))


_ORDERS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "compare": compare, "twin": _twin, "compare twin": _compare_twin,
}  # fmt: skip


def _reason(error: Exception) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError) or "allocate memory" in said:
        return "the memory is full"
    short = said if len(said) <= _LONGEST else said[:_LONGEST] + " ..."
    return f"transformers cannot compute it: {type(error).__name__}: {short}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
