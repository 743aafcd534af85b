"""The title and the text of a pull request: the numbers at a glance, what changed, and what a person has to judge."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from mlx_publish.card.environment import environment
from mlx_publish.card.loader import REVIEW
from mlx_publish.evidence.evidence import LACKING, Evidence, LicenceSpec
from mlx_publish.evidence.figures import Figures
from mlx_publish.evidence.planned import plan_of
from mlx_publish.evidence.quantization import PLAN_FILE
from mlx_publish.text import kit, numbers
from mlx_publish.text.markdown import Markdown, escape, is_web, one_line

_SAME = 0.005  # of the larger one; a smaller change has no arrow
_PENDING = ("warn", "fixed")
_LOSSY = "mean-kld"
_LONGEST_TITLE = 200
Before = Mapping[str, object]
"""Evidence of the base branch as plain data, maybe of another version."""


@dataclass(frozen=True)
class Proposed:
    """A card that a pull request brings."""

    path: PurePosixPath
    """Folder of the card in the repo."""
    evidence: Evidence
    before: Before | None = None
    """The evidence there now; None for a new card."""

    @property
    def figures(self) -> Figures:
        """The numbers of the new evidence."""
        return Figures.of_evidence(self.evidence.plain)

    @property
    def figures_before(self) -> Figures | None:
        """The numbers of the evidence before; None where there is none that this version can read."""
        try:
            return Figures.of_evidence(self.before) if self.before else None
        except LACKING:
            return None


@dataclass(frozen=True)
class Review:
    """What a pull request tells beside its cards."""

    web: str = ""
    """Address of the branch's files, with a slash at the end; without it nothing is linked."""
    base: str = "main"
    """The branch that it goes to."""
    tag: str = ""
    """The tag that publishes it, as `smollm2/v2`."""
    pinned: str = ""
    """The commit that the recipe is pinned to by it; empty where it was pinned before."""
    callback: str = ""
    """What the asker knows the request by."""
    without: Sequence[str] = ()
    """Variants of the recipe that have no card; until they leave it, the tag is refused."""

    @property
    def publish(self) -> str:
        """The commands that publish what was merged."""
        if not self.tag:
            return ""
        base, tag = (shlex.quote(one_line(name)) for name in (self.base, self.tag))
        return f"git switch {base} && git pull\ngit tag {tag} && git push origin {tag}"


@dataclass
class _Note:
    """A finding that several variants may share."""

    id: str
    message: str
    accepted: str | None
    labels: list[str] = field(default_factory=list)


def title(recipe: str, cards: Sequence[Proposed]) -> str:
    """Return the title of a pull request, with the word for each variant that is lossy."""
    steps = [(card.evidence.variant.label, card.figures.closeness) for card in cards]
    lossy = ", ".join(f"{label} {step.word}" for label, step in steps if step and step.warns)
    text = f"Cards of {recipe}{f' ({lossy})' if lossy else ''}"
    return text if len(text) <= _LONGEST_TITLE else f"{text[: _LONGEST_TITLE - 1]}…"


def body(cards: Sequence[Proposed], review: Review) -> str:
    """Return the text of a pull request."""
    template = environment().get_template(REVIEW)
    text = template.render(
        cards=[_card(card, review.web) for card in cards],
        compared=any(card.figures_before for card in cards),
        base=review.base,
        pinned=review.pinned,
        planned=", ".join(card.evidence.variant.label for card in cards if plan_of(card.evidence)),
        notes=_notes(cards),
        licences=_licences(cards),
        publish=review.publish,
        callback=review.callback,
        without=", ".join(review.without),
        page=kit.page("docs/workflows.md#what-reviewers-see"),
    )
    return text.strip() + "\n"


def _card(card: Proposed, web: str) -> Mapping[str, object]:
    now, figures, before = card.evidence, card.figures, card.figures_before
    at, step = f"{web}{card.path}" if web else "", figures.closeness
    return {
        "name": card.path.name,
        "label": now.variant.label,
        "card": f"{at}/README.md" if at else None,
        "evidence": f"{at}/evidence.json" if at else None,
        "planned": plan_of(now) is not None,
        "plan": f"{at}/{PLAN_FILE}" if at else None,
        "verdict": step.word if step else "not compared",
        "warns": step is not None and step.warns,
        "cells": Markdown(" | ".join(_cell(number, figures, before) for number in _NUMBERS if number.in_overview)),
        "changed": _changed(card, figures, before),
        "repo": now.source.repo,
        "commit": now.source.identity,
        "numbers": list(_rows(figures, before)),
        "human": [check.plain for check in now.checks if check.status in _PENDING],
    }


def _changed(card: Proposed, now: Figures, before: Figures | None) -> str:
    """Return what is different from the version before, in a sentence."""
    if card.before is None:
        return "new"
    if before is None:
        return "new to this version of mlx-publish, which cannot read the evidence on the base branch"
    files = "same files" if before.model == now.model else "other files"
    moved = [
        f"{number.what} {number.written(old)} → {number.written(new)}"
        for number in _NUMBERS
        if (old := number.value_of(before)) is not None
        and (new := number.value_of(now)) is not None
        and _moved(number, now, before)
    ]
    if now.device and before.device and now.device != before.device:
        moved.append(f"speed on {now.device}, before on {before.device}")
    if (old_plan := _plan(card.before)) and (plan := plan_of(card.evidence)) and plan.sha256 != old_plan:
        moved.append("another plan")
    return "; ".join((files, *moved)) if moved else f"{files}, same numbers"


def _plan(before: Before) -> object:
    """Return the digest of the plan of evidence of the base branch; None if it has none."""
    quantization = before.get("quantization")
    plan = quantization.get("plan") if isinstance(quantization, Mapping) else None
    return plan.get("sha256") if isinstance(plan, Mapping) else None


def _notes(cards: Sequence[Proposed]) -> list[_Note]:
    """Return what the checks leave to a person, each once for all variants that share it, lossy variants first."""
    notes: dict[tuple[str, str, str | None], _Note] = {}
    for card in cards:
        label = card.evidence.variant.label
        for check in card.evidence.checks:
            if check.status == "warn":
                key = (check.id, check.message, check.accepted)
                notes.setdefault(key, _Note(*key)).labels.append(label)
        for stage, why in sorted(card.evidence.missing.items()):
            key = (stage, _unmeasured(why), card.evidence.untested)
            notes.setdefault(key, _Note(*key)).labels.append(label)
    return sorted(notes.values(), key=lambda note: (note.id != _LOSSY, note.accepted is None))


def _unmeasured(why: str) -> str:
    """Return why a stage has no numbers, in short; `why` finishes the sentence 'It was not measured'."""
    reason = why.removeprefix(", because ")
    if reason.startswith("measured"):
        return reason.partition(":")[0]
    return f"not measured: {reason}" if reason else "not measured"


def _licences(cards: Sequence[Proposed]) -> list[Mapping[str, str | None]]:
    """Return the licences of the cards, each once, with the one before where that was another."""
    licences: dict[str, Mapping[str, str | None]] = {}
    for card in cards:
        licence = card.evidence.licence
        text = _licence(licence)
        there = card.before.get("licence") if isinstance(card.before, Mapping) else None
        before = str(there.get("id") or "none") if isinstance(there, Mapping) else ""
        changed = before if before not in ("", licence.id or "none") else ""
        licences.setdefault(
            text, {"text": text, "link": licence.link if is_web(licence.link) else "", "before": changed}
        )
    return list(licences.values())


def _licence(licence: LicenceSpec) -> str:
    return f"{licence.id or 'none'}{f' ({licence.name})' if licence.name else ''}"


def _rows(now: Figures, before: Figures | None) -> Iterator[dict[str, str]]:
    for number in _NUMBERS:
        new, old = number.value_of(now), number.value_of(before) if before else None
        if new is None and old is None and not number.always:
            continue
        yield {
            "what": number.what,
            "before": "" if before is None else "not measured" if old is None else number.written(old),
            "now": "not measured" if new is None else number.written(new),
            "arrow": _moved(number, now, before),
        }


@dataclass(frozen=True)
class _Number:
    """A number of a card: its value, None where it was not measured, and how it is written."""

    what: str
    value_of: Callable[[Figures], float | None]
    written: Callable[[float], str]
    in_overview: bool = False
    always: bool = True
    """Whether it stands there where it was not measured, too."""


_SPEED = "tokens/s"
_NUMBERS = (
    _Number("size", lambda figures: figures.weight_bytes, numbers.size, in_overview=True),
    _Number("bits per weight", lambda figures: figures.bits_per_weight, lambda value: f"{value:.2f}"),
    _Number("mean KLD", lambda figures: figures.mean_kld, numbers.significant, in_overview=True),
    _Number("mean KLD with pictures", lambda figures: figures.pictures_kld, numbers.significant, always=False),
    _Number("top-1 agreement", lambda figures: figures.same_first_choice, numbers.percent, in_overview=True),
    _Number("perplexity ratio", lambda figures: figures.perplexity_ratio, lambda value: f"{value:.3f}"),
    _Number(_SPEED, lambda figures: figures.generation_tps, numbers.significant, in_overview=True),
)


def _cell(number: _Number, now: Figures, before: Figures | None) -> Markdown:
    if (new := number.value_of(now)) is None:
        return Markdown("—")
    device = f" on {now.device}" if number.what == _SPEED and now.device else ""
    return escape(" ".join(filter(None, (_moved(number, now, before), f"{number.written(new)}{device}"))))


def _moved(number: _Number, now: Figures, before: Figures | None) -> str:
    """Return the arrow of a number; speeds on different devices say nothing about each other."""
    if before is None or (number.what == _SPEED and now.device != before.device):
        return ""
    return _arrow(number.value_of(before), number.value_of(now))


def _arrow(old: float | None, new: float | None) -> str:
    if old is None or new is None or abs(new - old) <= _SAME * max(abs(old), abs(new)):
        return ""
    return "↑" if new > old else "↓"
