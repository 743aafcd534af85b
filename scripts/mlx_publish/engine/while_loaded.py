"""What later stages want of the source's model, found while a conversion has it in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlx import nn

from mlx_publish.engine.answering import answers_of, tokenizer_of
from mlx_publish.engine.fidelity import reference_of
from mlx_publish.engine.loading import fit
from mlx_publish.engine.passages import rendering
from mlx_publish.engine.prompts import finished
from mlx_publish.engine.questions import prompts


def ask_source(
    model: nn.Module,
    source: str,
    tokenizer: str,
    reference: dict[str, Any] | None,
    questions: dict[str, Any] | None,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Store its logits (`reference`), let it answer (`questions`); what is None is left out.

    `source` is the folder that it was read from, `tokenizer` that of the converted tokenizer.
    """
    told: dict[str, Any] = {}
    computed_in, made = fit(model), tokenizer_of(Path(tokenizer))
    asked = questions["questions"] if questions else []
    # What is rendered below is rendered here, by one child, and known from now on.
    finished({**prompts(made, asked).calls, **(rendering(made, reference["texts"]["dialogue"]) if reference else {})})
    if reference:
        read = reference_of(model, made, Path(source), reference, progress)
        told["reference"] = {**read, "computed_in": computed_in}
    if questions:
        told["answers"] = {"computed_in": computed_in, **answers_of(model, made, asked, progress)}
    return told
