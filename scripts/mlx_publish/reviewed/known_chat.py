"""Compare what evidence says of the chat template and of the question, without asking the model again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mlx_publish import __version__
from mlx_publish.chat.media import asked_in
from mlx_publish.chat.pictures import PICTURES
from mlx_publish.chat.sounds import SOUNDS
from mlx_publish.context import Context
from mlx_publish.evidence.digests import read_back
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.model.files import FolderFiles
from mlx_publish.model.tokenizer import stop_ids
from mlx_publish.recipes.recipe import Variant
from mlx_publish.reviewed.assembling import bound_of
from mlx_publish.reviewed.walk import Difference, cut, walk
from mlx_publish.source.answers import SourceAnswers, system_way
from mlx_publish.source.resolve import metadata_of

_TEMPLATE = "the source's chat template"


def chat_differences(context: Context, variant: Variant, evidence: Evidence) -> Iterator[Difference]:
    """Compare question, capabilities, the way of the system text, switches and ends of an answer.

    Where `smoke` was run here on these bytes, its report has them all; the template is not rendered again for them.
    """
    if evidence.smoke is None:
        return
    smoke = evidence.smoke.plain
    asked = context.recipe.spec.smoke
    yield from walk("smoke.asked", smoke["asked"], {"system": asked.system, "prompt": asked.prompt}, "the recipe")
    # An answer ends by the ids that the converted files name.
    ends = list(stop_ids(FolderFiles(context.work.model(variant.label))))
    last = smoke["exchange"].get("stop_id")
    if ends:
        yield from walk("smoke.stop_ids", smoke.get("stop_ids"), ends, "the converted config.json")
    if ends and last is not None and last not in ends:
        yield Difference("smoke.exchange.stop_id", cut(last), f"one of {cut(ends)}", "the converted config.json")
    bound = bound_of(context, variant)
    if bound.fits("smoke"):
        own = read_back(dict(bound.reports["smoke"].result))
        known = {key: own[key] for key in ("chat_template", "capabilities", "system", "options")}
        messages, by = own["exchange"]["messages"], "smoke.json"
    else:
        known, messages = _derived(context)
        by = _TEMPLATE
    for key, value in known.items():
        yield from walk(f"smoke.{key}", smoke.get(key), value, by)
    yield from walk("smoke.exchange.messages", smoke["exchange"].get("messages"), messages, by)
    if evidence.generator == __version__ and (pictures := smoke.get("pictures")):
        yield from media_differences(pictures["answers"])


def media_differences(answers: Sequence[Mapping[str, object]]) -> Iterator[Difference]:
    """Compare what was shown and asked with what this version draws and asks, and whether answers are right."""
    media = {medium.name: medium for medium in asked_in((*PICTURES, *SOUNDS))}
    for number, answer in enumerate(answers):
        field = f"smoke.pictures.answers[{number}]"
        if (medium := media.get(str(answer.get("name")))) is None:
            yield Difference(f"{field}.name", cut(answer.get("name")), "nothing", "the pictures of this version")
            continue
        known: dict[str, object] = {"file": medium.file_name, "shows": medium.shows, "question": medium.question}
        for said, right in (("answer", "right"), ("source_answer", "source_right")):
            if said in answer:
                known[right] = medium.answered(str(answer[said]))
        for key, value in known.items():
            yield from walk(f"{field}.{key}", answer.get(key), value, "the pictures of this version")


def _derived(context: Context) -> tuple[dict[str, object], object]:
    """Return what the source's chat template gives: capabilities and options by key, and the question's messages."""
    asking = SourceAnswers(context)
    capabilities, first = asking.capabilities, asking.questions()[0]
    messages = first.messages or [{"role": "user", "content": first.prompt}]
    known = {
        "chat_template": metadata_of(context).look is not None,
        "capabilities": capabilities.to_json() if capabilities else None,
        "system": system_way(capabilities, context.recipe.spec.smoke),
        "options": dict(first.options),
    }
    return read_back(known), read_back(messages)
