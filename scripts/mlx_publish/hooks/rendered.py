"""Many chat templates rendered by one child process, each as `template.look` would render it alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from mlx_publish.chat.child import Reading, work_through
from mlx_publish.chat.dialogues import Probe, probes
from mlx_publish.chat.look import NOW, Look, look, request_of
from mlx_publish.chat.rendering import Rendered, Request
from mlx_publish.chat.variables import Reads


@dataclass(frozen=True)
class Model:
    """The templates of one model by name, with `default` among them, and its special tokens by role."""

    templates: Mapping[str, str]
    special_tokens: Mapping[str, str]

    @property
    def key(self) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
        """The same for models that render alike."""
        return tuple(sorted(self.templates.items())), tuple(sorted(self.special_tokens.items()))


def looks(models: Sequence[Model], dialogues: Collection[str] = ()) -> list[Look]:
    """Show the models' templates all dialogues, or only those named, and then no variables; each model once."""
    asked = [probe for probe in probes() if not dialogues or probe.name in dialogues]
    distinct = list({model.key: model for model in models}.values())
    done: dict[object, Look] = {}
    while distinct:
        batch = _batch(distinct, asked, variables=not dialogues)
        done.update((model.key, rendered) for model, rendered in zip(distinct, batch, strict=False))
        distinct = distinct[len(batch) :]
    return [done[model.key] for model in models]


def _batch(models: Sequence[Model], asked: Sequence[Probe], *, variables: bool) -> list[Look]:
    """Look at models until one is unsafe, that one included.

    The limits hold for the whole batch, so whoever breaks them is rendered again with all of them to itself.
    """
    requests: list[Request | Reading] = []
    for model in models:
        requests += [request_of(probe, model.templates, model.special_tokens, NOW) for probe in asked]
        requests += [Reading(tuple(model.templates.values()))] if variables else []
    answers = work_through(requests)
    done: list[Look] = []
    each = len(answers) // len(models)
    for number, model in enumerate(models):
        mine = answers[number * each : (number + 1) * each]
        texts = [answer for answer in mine if isinstance(answer, Rendered)]
        if any(text.kind == "unsafe" for text in texts):
            return [*done, look(model.templates, model.special_tokens)]
        names = next((answer for answer in mine if isinstance(answer, Reads)), Reads())
        rendered = dict(zip((probe.name for probe in asked), texts, strict=True))
        done.append(Look(model.templates, model.special_tokens, rendered, {}, names))
    return done
