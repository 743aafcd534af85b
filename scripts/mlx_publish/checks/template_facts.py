"""A model's chat template, as the checks judge it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mlx_publish.chat.capabilities import Capabilities
from mlx_publish.chat.look import Look
from mlx_publish.checks.base import Says, skipped
from mlx_publish.evidence.measured import ChatRendered

NO_TEMPLATE = "no chat template"


@dataclass(frozen=True)
class TemplateFacts:
    """A model's chat template, its dialogues, and what other tokenizers and engines make of it."""

    look: Look | None
    """The rendered dialogues; None if there is no template."""
    capabilities: Capabilities | None
    tokens: frozenset[str] | None
    """Texts of all tokens that stand for themselves; None if no file lists them."""
    way: str = "native"
    """The way of the system text: native, first-user, own-turn; none without a template."""
    chat: ChatRendered | None = None
    """None where nothing was converted or no tokenizer loaded."""
    engines: Mapping[str, Sequence[str] | None] | None = None
    """By engine what differs there, and None for one that is not installed; None if none was asked for."""
    library: str = "mlx-lm"
    """The name of the converter."""


def needs_template(judge: Callable[[TemplateFacts, Look, Capabilities], Says]) -> Callable[[TemplateFacts], Says]:
    """Return the check of a template that is skipped where there is none."""

    def run(facts: TemplateFacts) -> Says:
        if facts.look is None or facts.capabilities is None:
            return skipped(NO_TEMPLATE)
        return judge(facts, facts.look, facts.capabilities)

    return run
