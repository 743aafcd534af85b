"""smoke: the chat template beside the source's, and the converted model's answers beside the unquantized ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlx_publish.chat.engines_look import by_engine
from mlx_publish.chat.look import Look
from mlx_publish.checks.answers import ANSWERS, AnswerFacts
from mlx_publish.checks.base import run_checks
from mlx_publish.checks.template import TEMPLATE, differences
from mlx_publish.checks.template_facts import TemplateFacts
from mlx_publish.children.jobs import Job, run_job, run_jobs
from mlx_publish.evidence.digests import FileDigest
from mlx_publish.machine.resources import side_by_side
from mlx_publish.model.select import is_tokenizer
from mlx_publish.recipes.recipe import Variant
from mlx_publish.stages.answers import SourceAnswers, system_way
from mlx_publish.stages.context import Context, Outcome, Stage
from mlx_publish.stages.measuring import at_once, bounds, job_of, measured_inputs, source_fits
from mlx_publish.stages.prepare import readable_source
from mlx_publish.stages.source import metadata_of, source_of

_LONGER = 32  # tokens more than twice those of the source that an answer may take to its end


def inputs(context: Context, variant: Variant) -> Mapping[str, Any]:
    """The converted bytes, the source's, and the questions."""
    source = context.report(variant, "inspect").inputs["source"]
    return {**measured_inputs(context, variant, "smoke"), "source": source}


def run(context: Context, variants: Sequence[Variant]) -> Mapping[str, Outcome]:
    """Compare the templates, let the source answer once, and then every variant."""
    seen = metadata_of(context).look
    chats = _chats(context, variants, seen) if seen else [None] * len(variants)
    source = _source_answers(context, variants, chats[0])
    answers = _answers(context, variants, chats, source)
    found = {}
    asked = next(one for one in SourceAnswers(context).questions() if one["name"] == "asked")
    engines = by_engine(seen, context.recipe.spec.smoke.engines) if seen else None
    for variant, chat, told in zip(variants, chats, answers, strict=True):
        template, answered = _facts(context, seen, chat, engines), _answered(context, chat, told, source)
        checks = run_checks(TEMPLATE, template, context.recipe.accepted)
        checks += run_checks(ANSWERS, answered, context.recipe.accepted)
        found[variant.label] = Outcome(checks, _result(asked, template, answered))
        context.console.say(f"{variant.label} answers:")
        context.console.quote(told["answers"]["asked"]["answer"])
    return found


def _chats(context: Context, variants: Sequence[Variant], seen: Look) -> list[Any]:
    """Every dialogue by both tokenizers; variants whose tokenizer's files are the same bytes share one look."""
    dialogues = [
        {
            "name": probe.name, "messages": probe.messages, "tools": probe.tools, "options": dict(probe.options),
            "generation": probe.generation,
        }
        for probe in seen.probes
    ]  # fmt: skip
    paths: list[str] = context.report(variants[0], "inspect").result["source"]["files"]
    templates = dict(metadata_of(context).tokenizer.templates)
    files = [_tokenizer_files(context, variant) for variant in variants]
    first = dict(reversed(list(zip(files, variants, strict=True))))
    with context.work.aside("source") as aside:
        source = source_of(context).lay_out(paths, aside / "source")
        arguments = {
            "source": str(source), "templates": templates, "dialogues": dialogues,
            "questions": SourceAnswers(context).questions(),
        }  # fmt: skip
        jobs = [job_of(context, variant, "chat", arguments) for variant in first.values()]
        found = run_jobs(jobs, context.console.progress, at_once=side_by_side(len(jobs), 1 << 28))
    told = dict(zip(first, found, strict=True))
    return [told[key] for key in files]


def _tokenizer_files(context: Context, variant: Variant) -> tuple[FileDigest, ...]:
    return tuple(one for one in context.work.digests(context.work.model(variant.label)) if is_tokenizer(one.path))


def _source_answers(context: Context, variants: Sequence[Variant], chat: Any) -> dict[str, Any] | None:
    """Kept ones, or new ones where the machine can hold the source."""
    asking = SourceAnswers(context)
    known = asking.known()
    if known is None and source_fits(context):
        with readable_source(context) as folder:
            arguments = {
                "folder": str(folder), "tokenizer": str(context.work.model(variants[0].label)),
                "questions": _rendered(asking.questions(), chat), "source": True,
            }  # fmt: skip
            known = run_job(
                Job("answers", arguments, context.work.source / "answers.log", bounds(context), context.children),
                context.console.progress,
            )
        asking.keep(known)
    return known


def _answers(
    context: Context, variants: Sequence[Variant], chats: Sequence[Any], source: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    questions = [_in_time(question, source) for question in SourceAnswers(context).questions()]
    jobs = [
        job_of(
            context, variant, "answers",
            {"tokenizer": str(context.work.model(variant.label)), "questions": _rendered(questions, chat)},
        )
        for variant, chat in zip(variants, chats, strict=True)
    ]  # fmt: skip
    return run_jobs(jobs, context.console.progress, at_once=at_once(context, variants))


def _rendered(questions: Sequence[dict[str, Any]], chat: Any) -> list[dict[str, Any]]:
    """With the prompts that were made along with the dialogues, so that no template is needed any more."""
    made = chat["prompts"] if chat else {}
    return [
        {**one, "rendered": made[one["name"]][0], "ids": made[one["name"]][1]} if one["name"] in made else one
        for one in questions
    ]


def _in_time(question: dict[str, Any], source: Mapping[str, Any] | None) -> dict[str, Any]:
    """Where the source came to an end, the variant is given time to come to its own."""
    theirs = (source or {}).get("answers", {}).get(question["name"], {})
    if theirs.get("stop") != "stop":
        return question
    return {**question, "max_tokens": max(question["max_tokens"], 2 * len(theirs["tokens"]) + _LONGER)}


def _facts(context: Context, seen: Look | None, chat: Any, engines: Any) -> TemplateFacts:
    asking, metadata = SourceAnswers(context), metadata_of(context)
    way = system_way(asking.capabilities, context.recipe.spec.smoke)
    return TemplateFacts(seen, asking.capabilities, metadata.added_tokens, way, chat, engines)


def _answered(context: Context, chat: Any, told: Mapping[str, Any], source: Mapping[str, Any] | None) -> AnswerFacts:
    said = (*(chat["warnings"] if chat else ()), *told["warnings"])
    window = metadata_of(context).config.window
    long = int(told["answers"]["long text"]["prompt_tokens"])
    reason = SourceAnswers(context).long_text.reason
    return AnswerFacts(tuple(dict.fromkeys(said)), told, source, (window, long) if window else None, reason)


def _result(asked: Mapping[str, Any], template: TemplateFacts, answered: AnswerFacts) -> dict[str, Any]:
    """What the report keeps; `exchange`, the answer to `asked`, is what the card shows."""
    told = answered.told["answers"]
    return {
        "chat_template": template.look is not None,
        "capabilities": template.capabilities.to_json() if template.capabilities else None,
        "system": template.way,
        "options": asked["options"],
        "computed_in": answered.told["computed_in"],
        "stop_ids": answered.told["stop_ids"],
        "vocabulary": answered.told["vocabulary"],
        "exchange": {"messages": asked["messages"] or _plain(asked), **told["asked"]},
        "answers": {name: _short(answer) for name, answer in told.items() if name != "asked"},
        "source_answers": {name: _short(one) for name, one in (answered.source or {}).get("answers", {}).items()},
        "dialogues": _dialogues(template),
    }


def _plain(asked: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"role": "user", "content": asked["prompt"]}]


def _short(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {key: answer[key] for key in ("answer", "tokens", "prompt_tokens", "stop", "leaked")}


def _dialogues(template: TemplateFacts) -> dict[str, Any]:
    """What each dialogue became, as the converted model's users get it, and whether the source gives the same."""
    if template.chat is None:
        return {}
    different = dict(differences(template.chat))
    return {
        name: {
            "text": both["made"].get("text"),
            "error": both["made"].get("error"),
            "tokens": len(both["made"].get("ids", [])),
            "same": name not in different,
        }
        for name, both in template.chat["rendered"].items()
    }


STAGE = Stage("smoke", "convert", inputs, run)
