"""Classes of mlx-lm in which the plain form of a packed weight has no place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlx_publish.model.packed_misfit import misfit
from mlx_publish.model.packed_weight import PackedWeight

_ROWS_ARE_OUTPUTS = ("gptq", "awq", "awq-gemv")


def judge_places(config: Mapping[str, object], weights: Sequence[PackedWeight]) -> None:
    """Refuse packed weights that the class of the model type would not take, or would take for others."""
    for weight in weights:
        if config.get("model_type") == "bitnet":
            raise misfit(
                weight.name,
                "is for the class bitnet of mlx-lm, which computes with ternary weights of four rows to a byte alone, "
                "and has no place for plain ones",
                "Choose a source of another architecture; mlx-lm reads this one as it is, on a Mac.",
            )
        if config.get("model_type") == "gpt2" and weight.form in _ROWS_ARE_OUTPUTS:
            raise misfit(
                weight.name,
                "is packed with its rows as outputs, and gpt2 keeps plain weights turned",
                "Use the model it was made from.",
            )
