"""Judgements about a chat template: a difference from the source's is a failure, an oddity of both a warning."""

from __future__ import annotations

from collections.abc import Iterator

from mlx_publish.chat import properties
from mlx_publish.chat.asking import answer_head
from mlx_publish.chat.capabilities import Capabilities
from mlx_publish.chat.described import listed, shown
from mlx_publish.chat.dialogues import probes
from mlx_publish.chat.look import Look, shared
from mlx_publish.checks.base import Check, Says, failed, passed, skipped, warned
from mlx_publish.checks.template_abilities import ABILITIES
from mlx_publish.checks.template_facts import NO_TEMPLATE, TemplateFacts, needs_template
from mlx_publish.evidence.measured import ChatRendered

_QUOTED = 200  # characters of a prompt
_MEND = "Choose another source, or have its template fixed upstream."


def safe(look: Look) -> Says:
    """Judge whether the template stays within the sandbox and its limits."""
    if look.unsafe:
        probe, refusal = look.unsafe[0]
        return failed(
            f"the chat template is not safe to render: {refusal.error} (dialogue {probe!r})",
            _MEND,
            kind=refusal.kind,
        )
    if look.odd:
        first = look.odd[0]
        return failed(
            f"the chat template is not safe to render: {first.message}", _MEND, kind=first.kind, **first.details
        )
    return passed(f"{len(look.rendered)} dialogues were rendered in a sandbox within limits of time, memory and length")


def _renders(facts: TemplateFacts) -> Says:
    if facts.look is None:
        return warned(f"{NO_TEMPLATE}; answers are plain completions")
    if broken := properties.refusals(facts.look, must=True):
        name, error = broken[0]
        return failed(
            f"the chat template cannot render the dialogue {name!r}: {error}",
            "Have the source's template fixed upstream.",
            broken=dict(broken),
        )
    refused = dict(properties.refusals(facts.look, must=False))
    count = len(probes())
    remark = f"; refused: {'; '.join(refused)}" if refused else ""
    return passed(f"{count - len(refused)} of {count} dialogues render{remark}", refused=refused)


def _same(facts: TemplateFacts) -> Says:
    if facts.chat is None:
        return skipped("no converted model to compare" if facts.look else NO_TEMPLATE)
    different = list(differences(facts.chat))
    if different:
        name, what = different[0]
        return failed(
            f"{len(different)} of {len(facts.chat.rendered)} dialogues differ from the source's: {name!r}, {what}",
            "Compare the tokenizer files of source and output.",
            different=[name for name, _ in different],
        )
    count = len(facts.chat.rendered)
    return passed(f"{count} dialogues give the same text and ids in {facts.library} as the source in transformers")


def differences(chat: ChatRendered) -> Iterator[tuple[str, str]]:
    """Yield (dialogue, what differs) between the source's tokenizer and the converted one."""
    for name, dialogue in chat.rendered.items():
        source, made = dialogue.source, dialogue.made
        if source == made or dialogue.by_default:
            continue
        if source.error is not None and made.error is not None:
            continue  # refused by both; the words of an error may name a file
        if made.error is not None:
            yield name, f"the converted template refuses: {made.error}"
        elif source.error is not None:
            yield name, f"the source's template refuses: {source.error}"
        elif source.text != made.text:
            start = shared(made.text, source.text)
            part = slice(max(0, start - 10), start + 30)
            yield name, f"text {made.text[part]!r} instead of {source.text[part]!r}"
        else:
            start = shared(made.ids, source.ids)
            part = slice(max(0, start - 2), start + 6)
            yield name, f"ids {made.ids[part]} instead of {source.ids[part]}"


@needs_template
def _system(facts: TemplateFacts, look: Look, capabilities: Capabilities) -> Says:
    if capabilities.system in ("native", "merged"):
        how = "a separate turn" if capabilities.system == "native" else "put into a user turn by the template"
        return passed(f"the system prompt is {how}")
    reason = look.rendered["system+user"].error or "the system prompt is lost"
    remark = ", as on the card" if facts.chat is not None else ""
    if facts.way == "own-turn":
        if capabilities.two_users != "kept":
            return failed(
                "the recipe makes the system prompt a user turn, but the template rejects two user turns in a row",
                "Set smoke.fold to first-user in the recipe.",
            )
        return warned(f"no system role ({reason}); the system prompt becomes a separate user turn{remark}")
    return warned(f"no system role ({reason}); the system prompt is folded into the first user message{remark}")


@needs_template
def _whole(_facts: TemplateFacts, look: Look, capabilities: Capabilities) -> Says:
    wrong = list(properties.not_once(look))
    if gone := properties.vanished(look):
        name, text = gone[0]
        # Such a template is made for images beside texts.
        in_parts = "; it renders only multi-part content, and text clients send plain strings"
        return failed(
            f"in the dialogue {name!r} the text {text[:60]!r} vanishes, and the model never sees it"
            f"{in_parts if capabilities.parts == 'shown' else ''}",
            "Have the source's template fixed upstream to render plain strings.",
            found=[list(entry) for entry in wrong],
        )
    if wrong:
        name, text, count = wrong[0]
        fault = "vanishes" if count == 0 else f"arrives {count} times"
        return warned(
            f"in the dialogue {name!r} the text {text[:60]!r} {fault}", found=[list(entry) for entry in wrong]
        )
    return passed("every message's text appears exactly once")


@needs_template
def _prompt(_facts: TemplateFacts, look: Look, capabilities: Capabilities) -> Says:
    if capabilities.generation_prompt:
        return passed(f"the generation prompt is {shown(capabilities.generation_prompt, _QUOTED)}")
    head = answer_head(look)
    if head is None:
        return warned("add_generation_prompt changes nothing; the answer directly follows the user turn")
    return passed(f"every prompt already ends with {shown(head, _QUOTED)}; add_generation_prompt changes nothing")


@needs_template
def _begin(facts: TemplateFacts, look: Look, _capabilities: Capabilities) -> Says:
    count, token = properties.begin_tokens(look), look.special_tokens.get("bos_token")
    dialogue = facts.chat.rendered.get("user") if facts.chat else None
    # A tokenizer may add one to the template's own.
    text, ids = (dialogue.made.text, dialogue.made.ids) if dialogue else ("", ())
    doubled = bool(token) and text.startswith(str(token)) and len(ids) > 1 and ids[0] == ids[1]
    if count > 1 or doubled:
        return warned("a prompt begins with two BOS tokens; models are trained with one")
    return passed(f"the template writes the BOS token {token!r} once" if count else "it writes no BOS token")


@needs_template
def _head(_facts: TemplateFacts, look: Look, _capabilities: Capabilities) -> Says:
    if marked := sorted(name for name, text in look.templates.items() if text.startswith(properties.BYTE_ORDER_MARK)):
        return warned(
            f"the template {', '.join(marked)} starts with a byte order mark, and so does every prompt",
            "Save it in the source without the byte order mark.",
            marked=marked,
        )
    return passed("no template starts with a byte order mark")


@needs_template
def _tokens(facts: TemplateFacts, look: Look, _capabilities: Capabilities) -> Says:
    if facts.tokens is None:
        return skipped("no file lists the special tokens")
    if unknown := properties.unknown_tokens(look, facts.tokens):
        return warned(
            f"{listed(unknown)} look like special tokens and are plain text to this tokenizer", unknown=list(unknown)
        )
    return passed("every special token that the template writes is in the vocabulary")


@needs_template
def _grows(_facts: TemplateFacts, look: Look, _capabilities: Capabilities) -> Says:
    pairs = (("user", "several turns"), ("system+user", "system, several turns"))
    growths = [growth for pair in pairs if (growth := properties.growth(look, *pair))]
    if not growths:
        return skipped("no dialogue could be continued")
    if less := next((growth for growth in growths if growth.kept == "less"), None):
        return warned(
            f"a longer dialogue changes the earlier text, from {less.before!r} on, so a prompt cache helps little"
        )
    if any(growth.kept == "turn" for growth in growths):
        return passed("a longer dialogue keeps the earlier text, except the last generation prompt")
    return passed("a longer dialogue starts with the shorter one, so a prompt cache works")


@needs_template
def _date(_facts: TemplateFacts, _look: Look, capabilities: Capabilities) -> Says:
    if capabilities.date == "clock":
        return passed("the prompt contains the date; it was tested with a fixed clock")
    return passed("the prompt does not depend on the date")


@needs_template
def _variables(_facts: TemplateFacts, look: Look, _capabilities: Capabilities) -> Says:
    if odd := properties.surprising_variables(look):
        return warned(f"the template reads {listed(odd)}, which no known caller passes", names=list(odd))
    options = sorted(look.variables)
    return passed(f"the template reads only variables that callers pass{': ' if options else ''}{listed(options)}")


@needs_template
def _engines(facts: TemplateFacts, _look: Look, _capabilities: Capabilities) -> Says:
    if facts.engines is None:
        return skipped("no other engine was requested")
    missing = sorted(name for name, texts in facts.engines.items() if texts is None)
    different = [text for texts in facts.engines.values() if texts for text in texts]
    if different:
        return warned("; ".join(different[:3]), different=different)
    installed = sorted(facts.engines.keys() - set(missing))
    if not installed:
        return skipped(f"not installed here: {', '.join(missing)}")
    render = "renders" if len(installed) == 1 else "render"
    return passed(f"{' and '.join(installed)} {render} every dialogue alike", missing=missing)


TEMPLATE: tuple[Check[TemplateFacts], ...] = (
    Check("template-renders", "The chat template renders", "a chat that fails at the first message", _renders),
    Check(
        "template-same",
        "Prompts are identical to the source's",
        "a prompt the model was not trained on",
        _same,
        safety=True,
    ),
    Check("system-role", "System prompts are handled", "instructions that disappear", _system),
    *ABILITIES,
    Check("texts-once", "Every text appears exactly once", "text that disappears or doubles", _whole),
    Check("generation-prompt", "The generation prompt is added", "a model that continues as the user", _prompt),
    Check("begin-token", "The prompt has one BOS token", "a prompt that begins twice", _begin),
    Check(
        "byte-order-mark",
        "The prompt has no byte order mark",
        "a prompt that begins with an invisible character",
        _head,
    ),
    Check("known-tokens", "Special tokens are in the vocabulary", "markup read as words", _tokens),
    Check("grows", "A longer conversation extends the shorter prompt", "a prompt cache that never hits", _grows),
    Check("date", "Whether the prompt depends on the date is known", "answers that change overnight", _date),
    Check("variables", "Every template variable is known", "a typo in the template", _variables),
    Check(
        "other-engines", "Other template engines render the same text", "a chat that works in one client only", _engines
    ),
)
