"""The inside of the child with torch: `python -m mlx_publish.torch_check`, in any Python that has torch."""

from __future__ import annotations

import contextlib
import re
import resource
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_publish.children.serving import serve
from mlx_publish.evidence.proof import BeyondContext, Compared, Disputed, TwinMade
from mlx_publish.evidence.records import to_json
from mlx_publish.torch_check.comparing import Comparison
from mlx_publish.torch_check.reasons import error_words
from mlx_publish.torch_check.twin import Seeing, make, small
from mlx_publish.torch_check.twin import compare as compare_twin

_MEMORY = 12 << 30  # bytes of address space that a twin may take
ROUNDING = 1e-9
"""What equal models are apart in float32, as a normalised squared error; checks/reference has the same."""
DISPUTES: Mapping[str, tuple[str, Any]] = {
    # transformers clamps the time step of Mamba at this value, mlx-lm at the lower end of time_step_limit, which is 0.
    "nemotron_h": ("time_step_min", 0.0),
}
"""Model type -> a key that both read differently, and the value with which they agree."""
_HEAD = re.compile(r"For(CausalLM|ConditionalGeneration|ImageTextToText)$|LMHeadModel$")
_OTHER_SENSES = ("vision", "visual", "audio", "multi_modal_projector", "mm_projector")


class NoReferenceError(Exception):
    """Transformers does not compute this model here; that is no verdict on MLX."""


def _load_ahead() -> None:
    """Use the time until the first order: these take seconds."""
    with contextlib.suppress(Exception):  # it comes up again with the order, and is reported then
        import torch  # noqa: F401, PLC0415, TID251
        import transformers  # noqa: F401, PLC0415, TID251


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """Return the `result` of an order, or the `reason` for which there is none."""
    try:
        return {"result": to_json(_ORDERS[job.get("op", "compare")](**{key: job[key] for key in job if key != "op"}))}
    except NoReferenceError as error:
        traceback.print_exc()
        return {"reason": str(error)}


def compare(source: str, logits: str) -> Compared:
    """Load the model in `source` with transformers and compare its logits with those in the file `logits`.

    Both on the CPU in float32; `engine/reference_logits` says what is in the file.
    """
    model = _load(source)
    text, name = model.config.get_text_config(), type(model).__name__
    rope = getattr(text, "rope_parameters", None) or {}
    # From this position on longrope takes its other factors.
    longer = int(rope["original_max_position_embeddings"]) if rope.get("rope_type") == "longrope" else None
    longest = 0
    within, beyond = Comparison(), Comparison()
    for ids, ours in _sequences(logits):
        longest = max(longest, len(ids))
        within.add(ours, _logits(model, ids))
        if longer:
            beyond.add(ours, _logits(model, ids, longer))
    comparison = within.result()
    del model  # memory holds only one
    return Compared(
        **vars(comparison),
        class_=name,
        beyond_context=BeyondContext(longer, **vars(beyond.result())) if longer else None,
        disputed=_disputed(source, logits, text) if (comparison.nmse or 1) > ROUNDING else None,
        not_covered=_not_covered(text, longest),
    )


def _disputed(source: str, logits: str, text: Any) -> Disputed | None:
    """Compare once more, without what both are known to compute otherwise."""
    key, neutral = DISPUTES.get(text.model_type, ("", None))
    if not key or getattr(text, key, neutral) == neutral:
        return None
    model, again = _load(source, {key: neutral}), Comparison()
    for ids, ours in _sequences(logits):
        again.add(ours, _logits(model, ids))
    return Disputed(key, getattr(text, key), neutral, **vars(again.result()))


@contextlib.contextmanager
def _reasons() -> Iterator[None]:
    """Of whatever a strange config makes of transformers, make a reason."""
    try:
        yield
    except Exception as error:
        raise NoReferenceError(error_words(error)) from error


@_reasons()
def _load(source: str, instead: Mapping[str, object] | None = None) -> Any:
    """Return the model in float32, with other values of some keys of its text config."""
    import torch  # noqa: PLC0415, TID251
    from transformers import AutoConfig  # noqa: PLC0415, TID251

    config = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    for key, value in (instead or {}).items():
        setattr(config.get_text_config(), key, value)
    model, loading = _class_of(config).from_pretrained(
        source,
        config=config,
        dtype=torch.float32,
        attn_implementation="eager",
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    absent = sorted(str(key) for key in (*loading["missing_keys"], *loading["mismatched_keys"]))
    if missing := [key for key in absent if not any(part in key for part in _OTHER_SENSES)]:
        raise ValueError(f"it finds no weights for {', '.join(missing[:3])}; they would be random")
    return model.eval()


def _class_of(config: Any) -> Any:
    """Return the class that the config names, where it is one for this type: of a wrapper there is no causal model."""
    import transformers  # noqa: PLC0415, TID251

    for name in config.architectures or ():
        named = getattr(transformers, name, None)
        if isinstance(named, type) and getattr(named, "config_class", None) is type(config) and _HEAD.search(name):
            return named
    return transformers.AutoModelForCausalLM


def _not_covered(config: Any, longest: int) -> list[str]:
    rope = getattr(config, "rope_parameters", None) or {}
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    left = []
    if window and window >= longest:
        left.append(f"the sliding window of {window} positions")
    if rope.get("rope_type") == "dynamic":
        left.append(f"rope beyond {config.max_position_embeddings} positions")
    return left


def _sequences(path: str) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
    from safetensors import safe_open  # noqa: PLC0415

    with safe_open(path, framework="numpy") as file:
        for number in range(len(file.keys()) // 2):
            yield [int(id_) for id_ in file.get_tensor(f"ids.{number}")], file.get_tensor(f"logits.{number}")


@_reasons()
def _logits(model: Any, ids: list[int], longer: int | None = None) -> NDArray[np.float32]:
    """Return the logits of every position, (positions, vocabulary).

    With `longer` a token at that position is put behind, which makes a long text of it; the others do not see it.
    """
    import torch  # noqa: PLC0415, TID251

    read = [*ids, ids[-1]] if longer else ids
    # Where nothing is to be moved the class counts by itself: some count in three dimensions.
    places = {"position_ids": torch.tensor([[*range(len(ids)), longer]])} if longer else {}
    with torch.inference_mode():
        output = model(input_ids=torch.tensor([read]), use_cache=False, **places)
    values: NDArray[np.float32] = output.logits[0, : len(ids)].float().numpy()
    return values


@_reasons()
def _twin(config: dict[str, Any], folder: str, seed: int, count: int, source: dict[str, Any] | None = None) -> TwinMade:
    """Make a twin; its sizes are bounded, and so is what a strange config may take."""
    with contextlib.suppress(ValueError, OSError):  # a lower hard limit stays
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.RLIM_INFINITY))
    return make(config, Path(folder), seed, count, Seeing(**source) if source else None)


_ORDERS: Mapping[str, Callable[..., object]] = {
    "compare": compare,
    "small": _reasons()(small),
    "twin": _twin,
    "compare twin": _reasons()(compare_twin),
}


if __name__ == "__main__":
    serve(lambda order, _tell: answer(order), _load_ahead)
