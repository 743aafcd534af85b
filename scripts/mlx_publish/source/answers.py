"""The questions of the smoke test, and the source's own answers: asked once, kept beside its other facts."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlx_publish import __version__
from mlx_publish.chat.capabilities import Capabilities, capabilities
from mlx_publish.chat.variables import SWITCH
from mlx_publish.context import Context
from mlx_publish.evidence.measured import Answers, Question
from mlx_publish.evidence.records import to_json
from mlx_publish.recipes.recipe import SmokeTest
from mlx_publish.source.kept import Kept
from mlx_publish.source.logits import joined
from mlx_publish.source.long_text import LongText, long_text
from mlx_publish.source.resolve import converter, metadata_of, source_of

Messages = list[dict[str, str]]
SHORT = {
    "colours": "Name three colours of the rainbow.",
    "one word": "What is the capital of France? Answer with one word.",
}
SUMMARY = "What is the text above about? Answer with one sentence."
SHORT_TOKENS = 48
# Switches for thinking of which true means on.
_SWITCHES = ("thinking", "reasoning", "think", "enable_reasoning")


def system_way(template: Capabilities | None, asked: SmokeTest) -> str:
    """Return `native` where the template takes a system text, else how it is folded; `none` without a template."""
    if template is None:
        return "none"
    return "native" if template.system in ("native", "merged") else asked.fold


def asked_way(template: Capabilities | None, asked: SmokeTest) -> str:
    """Return the way of the questions; where two user turns are refused, the check `system-role` says so."""
    way = system_way(template, asked)
    return "first-user" if way == "own-turn" and template and template.two_users != "kept" else way


def thinking_options(template: Capabilities, asked: SmokeTest) -> dict[str, bool]:
    """Return what switches thinking as the recipe asks; of unusual names those that take true and false."""
    if template.thinking == "switch":
        return {SWITCH: asked.thinking}
    return {name: asked.thinking for name in _SWITCHES if {True, False} & {*template.switches.get(name, ())}}


def messages_of(way: str, system: str, prompt: str) -> Messages:
    """Return the dialogue that asks the recipe's question, as the card's snippet shows it."""
    if way == "native":
        return [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
    if way == "own-turn":
        return [{"role": "user", "content": system}, {"role": "user", "content": prompt}]
    return [{"role": "user", "content": f"{system}\n\n{prompt}"}]


@dataclass(frozen=True)
class SourceAnswers:
    """What the unquantized model of the source answers, and whether it is known already."""

    context: Context

    @property
    def capabilities(self) -> Capabilities | None:
        """Of the source's chat template; None if it has none."""
        look = metadata_of(self.context).look
        return capabilities(look) if look else None

    def questions(self) -> list[Question]:
        """Return all questions."""
        asked = self.context.recipe.spec.smoke
        # A template that cannot render a question is refused by `template-renders`; it is not asked here.
        look = metadata_of(self.context).look
        template = capabilities(look) if look and look.text("user") is not None else None
        options = thinking_options(template, asked) if template else {}

        def question(name: str, messages: Messages, tokens: int) -> Question:
            tokens, prompt = min(tokens, asked.max_tokens), messages[-1]["content"]
            if template:
                return Question(name, messages, tokens, options)
            return Question(name, None, tokens, options, prompt=prompt)

        dialogue = messages_of(asked_way(template, asked), asked.system, asked.prompt)
        short = [question(name, _user(text), SHORT_TOKENS) for name, text in SHORT.items()]
        summary = question("long text", _user(SUMMARY), SHORT_TOKENS)
        long = replace(summary, long_text=joined()["prose"], long_tokens=self.long_text.tokens)
        first = dialogue if template else _user(asked.prompt)
        return [question("asked", first, asked.max_tokens), *short, long]

    @property
    def long_text(self) -> LongText:
        """How long the long text is, and why it is not beyond the window."""
        config = metadata_of(self.context).config
        parameters = self.context.inspected_source.parameters
        return long_text(parameters, config.window, config.context, config.text)

    def known(self) -> Answers | None:
        """Return the kept answers, or None if the source has to be asked."""
        return self._kept().known()

    def keep(self, result: Answers) -> None:
        """Keep what was answered."""
        self._kept().keep(result)

    def _kept(self) -> Kept[Answers]:
        made_by = {"tools": converter(self.context).versions(), "mlx-publish": __version__}
        asked = {**source_of(self.context).named, "asked": to_json(self.questions())}
        return Kept(self.context.work.source / "answers.json", Answers, {**asked, **made_by})


def _user(text: str) -> Messages:
    return [{"role": "user", "content": text}]
