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
    found: dict[object, Look] = {}
    while distinct:
        done = _batch(distinct, asked, variables=not dialogues)
        found.update({model.key: seen for model, seen in zip(distinct, done, strict=False)})
        distinct = distinct[len(done) :]
    return [found[model.key] for model in models]


def _batch(models: Sequence[Model], asked: Sequence[Probe], *, variables: bool) -> list[Look]:
    """Look at models until one is unsafe, that one included.

    The limits hold for the whole batch, so whoever breaks them is rendered again with all of them to itself.
    """
    answers = work_through([one for model in models for one in _requests(model, asked, variables=variables)])
    found: list[Look] = []
    each = len(answers) // len(models)
    for number, model in enumerate(models):
        mine = answers[number * each : (number + 1) * each]
        if any(isinstance(one, Rendered) and one.kind == "unsafe" for one in mine):
            return [*found, look(model.templates, model.special_tokens)]
        texts = [one for one in mine if isinstance(one, Rendered)]
        names = next((one for one in mine if isinstance(one, Reads)), Reads())
        rendered = dict(zip((probe.name for probe in asked), texts, strict=True))
        found.append(Look(model.templates, model.special_tokens, rendered, {}, names))
    return found


def _requests(model: Model, asked: Sequence[Probe], *, variables: bool) -> list[Request | Reading]:
    found: list[Request | Reading] = [request_of(probe, model.templates, model.special_tokens, NOW) for probe in asked]
    return [*found, Reading(tuple(model.templates.values()))] if variables else found
