"""The inside of the child with mlx-vlm: `python -m mlx_publish.engine.speculating`, in any Python that has mlx-vlm.

It generates greedily, with the drafter and without it, by mlx-vlm's own functions. In float32 both compute the same but
for rounding; in half precision a round of several tokens rounds otherwise than one token after the other.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_publish.children.serving import serve
from mlx_publish.evidence.drafter import Difference, Drafted
from mlx_publish.evidence.records import to_json

_LONGEST = 300  # characters of a reason
_ENDS = 1e9
"""The gap where one answer ends and the other goes on, which no rounding makes."""
_LOCAL_CODE = ("model_file", "auto_map")


class NotDraftedError(Exception):
    """Nothing can be said of the drafter; the message says why."""


def _load_ahead() -> None:
    with contextlib.suppress(Exception):  # it comes up again with the order, and is reported then
        import mlx_vlm.generate  # noqa: F401, PLC0415


def answer(order: dict[str, Any]) -> dict[str, Any]:
    """Return the `result` of an order, or the `reason` for which there is none."""
    try:
        return {"result": to_json(draft(**order))}
    except NotDraftedError as error:
        return {"reason": str(error)[:_LONGEST]}
    except Exception as error:  # noqa: BLE001  whatever breaks in mlx-vlm is a reason
        traceback.print_exc()
        return {"reason": f"mlx-vlm fails: {type(error).__name__}: {str(error)[:_LONGEST]}"}


@dataclass(frozen=True)
class Generated:
    """A greedy answer: ids, and the log-probabilities of each step where they are known."""

    tokens: list[int]
    logprobs: list[Any]
    seconds: float


def draft(
    model: str, drafter: str, prompts: Sequence[dict[str, Any]], stops: Sequence[int], tokens: int, *, float32: bool
) -> Drafted:
    """Generate after each of `prompts`, which have `ids` or a `text`, at most `tokens`, to one of the `stops`.

    `model` and `drafter` are folders. Raises `NotDraftedError`, and whatever mlx-vlm raises.
    """
    import mlx.core as mx  # noqa: PLC0415
    from mlx_vlm.speculative.drafters import load_drafter  # noqa: PLC0415
    from mlx_vlm.utils import load_model  # noqa: PLC0415

    for folder in (model, drafter):
        _judge(Path(folder))
    inputs = list(_ids(Path(model), prompts))
    target = load_model(Path(model))
    draws, kind = load_drafter(drafter)
    if kind != "mtp":
        raise NotDraftedError(f"mlx-vlm takes the drafter for one of the kind {kind[:40]}, not mtp")
    if float32:
        target.set_dtype(mx.float32)
        draws.set_dtype(mx.float32)
    accepted, drafted, differences, plain_seconds, seconds, generated = [], [], [], 0.0, 0.0, 0
    _generate(target, inputs[0], (), 2)  # kernels are compiled at their first use
    _generate(target, inputs[0], (), 4, draft_model=draws, draft_kind=kind)
    for number, ids in enumerate(inputs):
        plain = _generate(target, ids, stops, tokens)
        own = _generate(target, ids, stops, tokens, draft_model=draws, draft_kind=kind)
        accepted += list(draws.accept_lens)
        drafted += list(draws.draft_lens)
        generated += len(own.tokens)
        plain_seconds, seconds = plain_seconds + plain.seconds, seconds + own.seconds
        if difference := _difference(number, plain, own):
            differences.append(difference)
    return Drafted(
        prompts=len(inputs),
        tokens=generated,
        rounds=len(accepted),
        drafted=sum(map(int, drafted)),
        accepted=sum(map(int, accepted)),
        block_size=int(draws.config.block_size),
        computed_in="float32" if float32 else "as stored",
        device="gpu" if mx.default_device() == mx.gpu else "cpu",
        differences=differences,
        seconds=seconds,
        plain_seconds=plain_seconds,
    )


def _judge(folder: Path) -> None:
    """Raise where a config names code of its own: mlx-vlm would run it."""
    config = json.loads((folder / "config.json").read_bytes())
    if named := [key for key in _LOCAL_CODE if config.get(key)]:
        raise NotDraftedError(f"config.json names code of its own ({named[0]}), which is not run")


def _ids(model: Path, prompts: Sequence[dict[str, Any]]) -> Iterator[list[int]]:
    from tokenizers import Tokenizer  # noqa: PLC0415

    tokenizer = None
    with contextlib.suppress(Exception):  # texts are for a tokenizer.json that this library reads
        tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    count = 0
    for prompt in prompts:
        ids = prompt.get("ids") or (tokenizer.encode(prompt["text"]).ids if tokenizer else [])
        if len(ids) > 1:
            count += 1
            yield list(ids)
    if not count:
        raise NotDraftedError("the tokenizer gives no prompt to generate after")


def _generate(model: Any, ids: list[int], stops: Sequence[int], most: int, **drafting: Any) -> Generated:
    import mlx.core as mx  # noqa: PLC0415
    from mlx_vlm.generate.ar import generate_step  # noqa: PLC0415

    tokens: list[int] = []
    logprobs: list[Any] = []
    begun = time.perf_counter()
    steps = generate_step(mx.array([ids]), model, None, None, max_tokens=most, temperature=0.0, **drafting)
    for token, scores in steps:
        if not tokens:
            begun = time.perf_counter()
        tokens.append(int(token))
        logprobs.append(None if drafting else scores)
        if tokens[-1] in stops:
            break
    seconds = time.perf_counter() - begun
    return Generated(tokens[:most], logprobs[:most], seconds)


def _difference(prompt: int, plain: Generated, own: Generated) -> Difference | None:
    """Return where two answers part; None where they do not."""
    if plain.tokens == own.tokens:
        return None
    pairs = zip(plain.tokens, own.tokens, strict=False)
    position = next((n for n, (one, other) in enumerate(pairs) if one != other), None)
    if position is None:  # one ends before the other
        return Difference(prompt, min(len(plain.tokens), len(own.tokens)), _ENDS)
    scores = plain.logprobs[position].reshape(-1)
    gap = float((scores[plain.tokens[position]] - scores[own.tokens[position]]).item())
    return Difference(prompt, position, abs(gap) if math.isfinite(gap) else _ENDS)


if __name__ == "__main__":
    serve(lambda order, _: answer(order), _load_ahead)
