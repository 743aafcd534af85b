"""What is known of a model's chat template when it is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlx_publish.chat.capabilities import Capabilities
from mlx_publish.chat.look import Look
from mlx_publish.checks.base import Says, skipped
from mlx_publish.evidence.measured import ChatRendered

NO_TEMPLATE = "there is no chat template"


@dataclass(frozen=True)
class TemplateFacts:
    """All that is known of a model's chat template when it is judged."""

    look: Look | None
    """What it made of the dialogues; None where there is no template."""
    capabilities: Capabilities | None
    tokens: frozenset[str] | None
    """Texts of all tokens that stand for themselves; None where no file lists them."""
    way: str = "native"
    """The way of the system text: native, first-user, own-turn; none without a template."""
    chat: ChatRendered | None = None
    """None where nothing was converted or no tokenizer loaded."""
    engines: Mapping[str, Any] | None = None
    """By engine what differs there, and None for one that is not installed; None where none was asked for."""


def where_there_is_one(judge: Callable[[TemplateFacts, Look, Capabilities], Says]) -> Callable[[TemplateFacts], Says]:
    """Skip a check where there is no template, of which nothing can be said."""

    def run(facts: TemplateFacts) -> Says:
        if facts.look is None or facts.capabilities is None:
            return skipped(NO_TEMPLATE)
        return judge(facts, facts.look, facts.capabilities)

    return run
