"""The twin of a source: whether mlx-lm computes of its config what transformers computes, found without its weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_publish import __version__
from mlx_publish.checks.twin import MAX_NMSE, TwinFacts
from mlx_publish.children.engine import Children
from mlx_publish.children.jobs import Bounds, Job, run_job
from mlx_publish.children.torch import Torch, TorchChild, find_torch
from mlx_publish.context import Context
from mlx_publish.errors import SurroundingsError
from mlx_publish.machine.packages import versions
from mlx_publish.model.normalise import normalise_config
from mlx_publish.source.bounds import rounded
from mlx_publish.source.kept import Kept
from mlx_publish.source.resolve import converter, metadata_of
from mlx_publish.text.files import json_text
from mlx_publish.text.temporary import TemporaryFolder
from mlx_publish.torch_check.neutral import Candidate, candidates, culprit

if TYPE_CHECKING:
    from typing_extensions import Self

WRITTEN = "written"
_LIMIT = 300.0  # seconds for one twin; most take one
_BLAME = 40.0  # seconds after which no further key is tried
_METAL = "[metal_kernel] No Metal"
_LACKING = "config.json has no "
_SEED = 11
_AT_ONCE = 6  # keys tried side by side
_NEAR = 12  # positions behind a boundary at which a difference is still due to it
Read = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def twin_tools(context: Context) -> dict[str, str]:
    """Versions of all that has a say; without torch there is no word of it."""
    torch = torch_of(context)
    return {} if torch.reason else {**versions("mlx", "mlx-lm"), **torch.versions}


def twin_facts(context: Context) -> TwinFacts:
    """Compare the twin of the source, or say why that is not possible; what was found for the same config is kept."""
    if "twin" not in context.cache:
        context.cache["twin"] = _facts(context)
    found: TwinFacts = context.cache["twin"]
    return found


def torch_of(context: Context) -> Torch:
    """The Python that has torch, asked for once a run."""
    if "torch" not in context.cache:
        context.cache["torch"] = find_torch()
    found: Torch = context.cache["torch"]
    return found


def _facts(context: Context) -> TwinFacts:
    torch, support = torch_of(context), converter(context).support()
    config = dict(metadata_of(context).config.raw)
    if support is None:
        return TwinFacts(None, "mlx-lm is not installed here")
    if torch.reason:
        return TwinFacts(None, torch.reason)
    inputs = {"config": config, "tools": twin_tools(context), "mlx-publish": __version__}
    kept = Kept(context.work.source / "twin.json", dict[str, Any], inputs)
    if (known := kept.known()) is not None:
        return TwinFacts(known)
    context.console.progress("proving the architecture on a small random twin")
    console = context.console
    with Prover(torch, context.work.source, console.progress, children=context.children) as prover:
        facts = prover.prove(config)
    if facts.result is not None:
        kept.keep(dict(facts.result))
    return facts


def _normalised(config: Mapping[str, Any]) -> Mapping[str, Any]:
    return normalise_config(config)[0]


class Prover:
    """Makes twins by transformers, lets mlx-lm read them, compares, and finds the key to blame; one after the other.

    What the children print goes to the folder `logs`. `read` makes the config that mlx-lm is shown.
    """

    def __init__(
        self, torch: Torch, logs: Path, progress: Callable[[str], None], read: Read | None = None,
        children: Children | None = None,
    ) -> None:  # fmt: skip
        """Start nothing yet; `children` are those that do the part of mlx-lm."""
        self._torch, self._logs, self._progress, self._read = torch, logs, progress, read or _normalised
        self._child = TorchChild(torch, logs / "twin-torch.log")
        self._aside = TemporaryFolder()
        self._children = children
        self._made = 0

    def __enter__(self) -> Self:
        self._child.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._child.end()
        self._aside.cleanup()

    def prove(self, config: Mapping[str, Any]) -> TwinFacts:
        """Compare the twin of one config; where it differs, find out why."""
        answer = self._child.ask({"op": "small", "config": config, "folder": self._aside.name}, _LIMIT)
        if answer.result is None:
            return TwinFacts(None, answer.reason)
        small, boundaries = (
            answer.result["config"],
            {place: (key, was) for place, key, was in answer.result["boundaries"]},
        )
        first = self._found(small, 0)
        if isinstance(first, str):
            return TwinFacts(None, first)
        found, texts = first
        if found["problem"]:
            if _LACKING not in found["problem"] and (blamed := self._in_the_way(small, texts[:1])):
                found |= {"blame": blamed.key, "value": rounded(blamed.value)}
        elif not agrees(found):
            # A choice of experts that hangs on the last digit falls otherwise now and then, with other numbers not.
            second = self._found(small, _SEED)
            if not isinstance(second, str) and agrees(second[0]):
                found = second[0]
            else:
                self._explain(found, small, boundaries, texts)
        return TwinFacts(rounded(found))

    def _found(self, small: Mapping[str, Any], seed: int) -> tuple[dict[str, Any], Any] | str:
        """What one twin gives, with its texts; or the reason for which there is none."""
        there, made, reason = self._make(small, seed)
        if made is None:
            return reason
        told = self._compute([there], made["texts"])
        if _METAL in told["problems"][0]:
            return "its class in mlx-lm computes on Metal alone"
        found: dict[str, Any] = {
            "class": made["class"], "parameters": made["parameters"], "problem": told["problems"][0],
            "lost": told["lost"][0], "against": "transformers", "versions": dict(self._torch.versions),
            "mlx_lm": versions("mlx", "mlx-lm"), "boundary": None, "blame": None, "value": None, "texts": [],
        }  # fmt: skip
        return ({**found, **self._compare(there)} if not found["problem"] else found), made["texts"]

    def _explain(
        self, found: dict[str, Any], small: Mapping[str, Any], boundaries: Mapping[int, tuple[str, Any]], texts: Any
    ) -> None:
        boundary = _boundary(found, boundaries)
        found["boundary"] = {"key": boundary[0], "position": boundary[1]} if boundary else None
        # Where the short text shows it, the long one need not be read for each key that is tried.
        short = found["texts"][0]["nmse"]
        some = texts[:1] if short is not None and short > MAX_NMSE else texts
        blamed = None if found["lost"] else self._blame(small, boundary[0] if boundary else "", some)
        if blamed:
            found |= {"blame": blamed.key, "value": rounded(blamed.value)}

    def _make(
        self, config: Mapping[str, Any], seed: int = 0, count: int = 2
    ) -> tuple[Path, Mapping[str, Any] | None, str]:
        there = Path(self._aside.name) / str(self._made)
        self._made += 1
        there.mkdir()
        answer = self._child.ask(
            {"op": "twin", "config": config, "folder": str(there), "seed": seed, "count": count}, _LIMIT
        )
        if answer.result is None:
            return there, None, answer.reason
        (there / WRITTEN / "config.json").write_text(json_text(self._read(config)), encoding="utf-8")
        return there, answer.result, ""

    def _compute(self, folders: Sequence[Path], texts: Any) -> dict[str, Any]:
        arguments = {"folders": [str(folder / WRITTEN) for folder in folders], "texts": texts}
        job = Job("twin", arguments, self._logs / "twin-mlx.log", Bounds(_LIMIT), self._children)
        return run_job(job, self._progress)

    def _compare(self, there: Path) -> dict[str, Any]:
        order = {"op": "compare twin", "read": str(there / WRITTEN), "folder": str(there)}
        answer = self._child.ask(order, _LIMIT)
        if answer.result is None:
            raise SurroundingsError(answer.reason, remedy="Run the same command again.")
        return dict(answer.result)

    def _blame(self, small: Mapping[str, Any], at_boundary: str, texts: Any) -> Candidate | None:
        """The key whose neutral value makes both agree."""
        return self._culprit(candidates(small, at_boundary), texts, lambda folder: agrees(self._compare(folder)))

    def _in_the_way(self, small: Mapping[str, Any], texts: Any) -> Candidate | None:
        """The key without which mlx-lm computes at all."""
        return self._culprit(candidates(small), texts, lambda _: True)

    def _culprit(self, found: Sequence[Candidate], texts: Any, settled: Callable[[Path], bool]) -> Candidate | None:
        """The first candidate that mlx-lm computes and that is `settled`."""
        until = time.monotonic() + _BLAME
        self._progress("looking for the key to blame")

        def try_(some: Sequence[Candidate]) -> list[bool]:
            if time.monotonic() > until:
                return [False] * len(some)
            made = [self._make(one.config, count=len(texts)) for one in some]
            folders = [there if result else None for there, result, _ in made]
            computed = [folder for folder in folders if folder]
            problems = dict(zip(computed, self._compute(computed, texts)["problems"], strict=True)) if computed else {}
            return [folder is not None and not problems[folder] and settled(folder) for folder in folders]

        return culprit(found, try_, _AT_ONCE)


def agrees(found: Mapping[str, Any]) -> bool:
    """Whether both texts of a twin are computed alike."""
    return all(text["nmse"] is not None and text["nmse"] <= MAX_NMSE for text in found["texts"])


def _boundary(found: Mapping[str, Any], boundaries: Mapping[int, tuple[str, Any]]) -> tuple[str, Any] | None:
    """The boundary right before the first position that differs in the long text, where the short one is equal."""
    position = found["texts"][-1]["position"]
    if position is None or found["texts"][0]["position"] is not None:
        return None
    met = [place for place in boundaries if place <= position < place + _NEAR]
    return boundaries[max(met)] if met else None
