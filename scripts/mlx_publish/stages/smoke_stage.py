"""smoke: the chat template beside the source's, and the converted model's answers beside the unquantized ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlx_publish.chat.engines_look import by_engine
from mlx_publish.chat.look import Look
from mlx_publish.checks.answers import ANSWERS, AnswerFacts
from mlx_publish.checks.base import run_checks
from mlx_publish.checks.drafter import PROVEN
from mlx_publish.checks.seen import SEEN
from mlx_publish.checks.template import TEMPLATE, differences
from mlx_publish.checks.template_facts import TemplateFacts
from mlx_publish.children.jobs import Job, run_job, run_jobs
from mlx_publish.context import Context, Outcome
from mlx_publish.evidence import stages
from mlx_publish.evidence.drafter import DrafterProof
from mlx_publish.evidence.measured import Answer, Answers, ChatRendered, DialogueOrder, Question
from mlx_publish.evidence.records import from_json, to_json
from mlx_publish.evidence.results import DialogueText, Exchange, ShortAnswer, Smoke
from mlx_publish.machine.resources import side_by_side
from mlx_publish.model.select import is_tokenizer
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source.answers import SourceAnswers, system_way
from mlx_publish.source.bounds import at_once, bounds, job_of, keeps, measured_inputs, source_fits
from mlx_publish.source.drafted import proven, vision_tools
from mlx_publish.source.layout import readable_source
from mlx_publish.source.perceived import Perceiving, media_of
from mlx_publish.source.resolve import WEIGHTS, adapter_inputs, converter, metadata_of, source_of
from mlx_publish.source.streamed import REASON, is_streamed
from mlx_publish.stages.stage import Stage

_LONGER = 32  # tokens more than twice those of the source that an answer may take to its end


def inputs(context: Context, variant: Variant) -> Mapping[str, object]:
    """Return the converted bytes, the source's, and the questions."""
    source = context.report(variant, "inspect").inputs["source"]
    shows = context.recipe.spec.mtp or converter(context).senses
    vision = {"vision": vision_tools()} if shows else {}
    return {
        **measured_inputs(context, variant, "smoke"),
        "source": source,
        **vision,
        **adapter_inputs(context, variant),
    }


def run(context: Context, variants: Sequence[Variant]) -> Mapping[str, Outcome]:
    """Compare the templates, let the source answer once, and then every variant."""
    if staying := [variant for variant in variants if keeps(context, variant, "answers")]:
        context.children.start_clean("answers", at_once(context, staying))
    metadata, asking = metadata_of(context), SourceAnswers(context)
    look, window = metadata.look, metadata.config.window
    chats = _chats(context, variants, look) if look else dict.fromkeys(v.label for v in variants)
    source = _source_answers(context, variants, chats[variants[0].label])
    answers = _answers(context, variants, chats, source)
    perceiving = Perceiving(context)
    seen = perceiving.facts(variants)
    engines = by_engine(look, context.recipe.spec.smoke.engines) if look else None
    outcomes = {}
    for variant, made in zip(variants, answers, strict=True):
        chat = chats[variant.label]
        way = system_way(asking.capabilities, context.recipe.spec.smoke)
        name = converter(context).distribution
        template = TemplateFacts(look, asking.capabilities, metadata.added_tokens, way, chat, engines, name)
        warnings = tuple(dict.fromkeys((*(chat.warnings if chat else ()), *made.warnings)))
        long = (window, made.answers["long text"].prompt_tokens) if window else None
        facts = AnswerFacts(warnings, made, source, long, asking.long_text.reason)
        checks = run_checks(TEMPLATE, template, context.recipe.accepted)
        checks += run_checks(ANSWERS, facts, context.recipe.accepted)
        result = _result(asking.questions()[0], template, facts)
        if context.recipe.spec.mtp:
            proof = proven(context, variant, _rendered(asking.questions(), chat), made.stop_ids)
            checks += run_checks(PROVEN, proof, context.recipe.accepted)
            result = replace(result, drafter=proof if isinstance(proof, DrafterProof) else None)
        if facts_seen := seen.get(variant.label):
            checks += run_checks(SEEN, facts_seen, context.recipe.accepted)
            result = replace(result, pictures=media_of(facts_seen, perceiving.senses))
        outcomes[variant.label] = Outcome(checks, result)
        context.console.say(f"{variant.label} answers:")
        context.console.quote(made.answers["asked"].answer)
    return outcomes


def _chats(context: Context, variants: Sequence[Variant], look: Look) -> dict[str, ChatRendered | None]:
    """Render every dialogue by both tokenizers; variants whose tokenizer's files are the same bytes share it."""
    dialogues = [
        DialogueOrder(probe.name, probe.messages, probe.tools, probe.options, probe.generation) for probe in look.probes
    ]
    # A tokenizer needs no weights, and those of a source that was streamed are not there.
    paths = [path for path in context.inspected(variants[0]).source.files if not path.endswith(WEIGHTS)]
    files = {
        variant.label: tuple(
            file for file in context.work.digests(context.work.model(variant.label)) if is_tokenizer(file.path)
        )
        for variant in variants
    }
    first = {files[variant.label]: variant for variant in reversed(variants)}
    with context.work.aside("source") as aside:
        source = source_of(context).lay_out(paths, aside / "source")
        arguments = {
            "source": str(source),
            "templates": dict(metadata_of(context).tokenizer.templates),
            "dialogues": to_json(dialogues),
            "questions": to_json(SourceAnswers(context).questions()),
        }
        jobs = [job_of(context, variant, "chat", arguments) for variant in first.values()]
        results = run_jobs(jobs, context.console.progress, at_once=side_by_side(len(jobs), 1 << 28))
    chats = {key: from_json(ChatRendered, result) for key, result in zip(first, results, strict=True)}
    return {label: chats[key] for label, key in files.items()}


def _source_answers(context: Context, variants: Sequence[Variant], chat: ChatRendered | None) -> Answers | None:
    """Return the source's answers: kept ones, or new ones where the machine can hold the source."""
    asking = SourceAnswers(context)
    if (known := asking.known()) is not None or not source_fits(context):
        if known is None and is_streamed(context):
            context.console.say(f"the source is not asked: {REASON}")
        return known
    with readable_source(context) as folder:
        arguments = {
            "folder": str(folder),
            "tokenizer": str(context.work.model(variants[0].label)),
            "questions": to_json(_rendered(asking.questions(), chat)),
            "source": True,
        }
        job = Job("answers", arguments, context.work.source / "answers.log", bounds(context), context.children)
        answers = from_json(Answers, run_job(job, context.console.progress))
    asking.keep(answers)
    return answers


def _answers(
    context: Context, variants: Sequence[Variant], chats: Mapping[str, ChatRendered | None], source: Answers | None
) -> list[Answers]:
    questions = []
    for question in SourceAnswers(context).questions():
        theirs = source.answers.get(question.name) if source else None
        # Where the source came to an end, the variant has time to come to its own.
        longer = 2 * len(theirs.tokens) + _LONGER if theirs and theirs.stop == "stop" else 0
        questions.append(replace(question, max_tokens=max(question.max_tokens, longer)))

    def job(variant: Variant) -> Job:
        asked = to_json(_rendered(questions, chats[variant.label]))
        tokenizer = str(context.work.model(variant.label))
        return job_of(context, variant, "answers", {"tokenizer": tokenizer, "questions": asked})

    results = run_jobs([job(v) for v in variants], context.console.progress, at_once=at_once(context, variants))
    return [from_json(Answers, result) for result in results]


def _rendered(questions: Sequence[Question], chat: ChatRendered | None) -> list[Question]:
    """Return questions with the prompts that were made along with the dialogues: they need no template any more."""
    made = chat.prompts if chat else {}
    return [
        replace(question, rendered=made[question.name][0], ids=made[question.name][1])
        if question.name in made
        else question
        for question in questions
    ]


def _result(asked: Question, template: TemplateFacts, answers: AnswerFacts) -> Smoke:
    """Return what the report keeps; `exchange`, the answer to `asked`, is what the card shows."""
    source = answers.source.answers if answers.source else {}
    different = dict(differences(template.chat)) if template.chat else {}
    dialogues = {
        name: DialogueText(
            None if dialogue.made.error is not None else dialogue.made.text,
            dialogue.made.error,
            len(dialogue.made.ids),
            name not in different,
        )
        for name, dialogue in (template.chat.rendered.items() if template.chat else ())
    }
    messages = asked.messages or [{"role": "user", "content": asked.prompt}]
    return Smoke(
        chat_template=template.look is not None,
        capabilities=template.capabilities.to_json() if template.capabilities else None,
        system=template.way,
        options=asked.options,
        computed_in=answers.made.computed_in,
        stop_ids=answers.made.stop_ids,
        vocabulary=answers.made.vocabulary,
        exchange=Exchange(messages, **vars(answers.made.answers["asked"])),
        answers={name: _short(answer) for name, answer in answers.made.answers.items() if name != "asked"},
        source_answers={name: _short(answer) for name, answer in source.items()},
        dialogues=dialogues,
    )


def _short(answer: Answer) -> ShortAnswer:
    return ShortAnswer(answer.answer, answer.tokens, answer.prompt_tokens, answer.stop, answer.leaked)


STAGE = Stage(stages.SMOKE, inputs, run)
