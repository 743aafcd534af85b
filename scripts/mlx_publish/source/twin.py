"""The twin of a source: whether mlx-lm computes of its config what transformers computes, found without its weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_publish import __version__
from mlx_publish.checks.twin import MAX_NMSE, MAX_PICTURES_NMSE, TwinFacts
from mlx_publish.children.engine import Children
from mlx_publish.children.jobs import Bounds, Job, run_job
from mlx_publish.children.torch import Torch, TorchChild, find_torch
from mlx_publish.context import Context
from mlx_publish.converters import Converter
from mlx_publish.errors import PublishError, Refused, SurroundingsError
from mlx_publish.evidence.proof import (
    Boundary,
    LogitsComparison,
    MetBoundary,
    PicturesDrawn,
    PicturesProof,
    SmallConfig,
    TwinMade,
    TwinPicture,
    TwinProof,
    TwinRead,
    TwinsRead,
    TwinTexts,
)
from mlx_publish.evidence.records import from_json, to_json
from mlx_publish.machine.packages import versions
from mlx_publish.model.metadata import Metadata
from mlx_publish.model.normalise import normalise_config
from mlx_publish.source.bounds import rounded
from mlx_publish.source.kept import Kept
from mlx_publish.source.resolve import converter, metadata_of
from mlx_publish.text.files import json_text
from mlx_publish.text.progress import Tell
from mlx_publish.text.temporary import TemporaryFolder
from mlx_publish.torch_check.neutral import Candidate, candidates, culprit, picture_candidates
from mlx_publish.torch_check.small_processor import small_processor

if TYPE_CHECKING:
    from typing_extensions import Self

WRITTEN = "written"
_LIMIT = 300.0  # seconds for one twin; most take one
_BLAME = 40.0  # seconds after which no further key is tried
_METAL = "[metal_kernel] No Metal"
_LACKING = "config.json has no "
_SEED = 11
_DRAWING, _MOST_DRAWN = 60.0, 4 << 30  # seconds and bytes for a processor of small pictures
_AT_ONCE = 6  # keys tried side by side
_NEAR = 12  # positions behind a boundary at which a difference is still due to it
Config = Mapping[str, Any]
"""A config.json."""
Texts = Sequence[Sequence[int]]
"""Ids of the texts that a twin reads."""


@dataclass(frozen=True)
class _Twin:
    """A twin that transformers made in a folder."""

    folder: Path
    made: TwinMade


@dataclass(frozen=True)
class Sees:
    """What a source that sees says beside its config: the settings of its image processor, the names of its tensors."""

    processor: Config
    names: Sequence[str]


def twin_tools(context: Context) -> dict[str, str]:
    """Return the versions of all that has a say; empty without torch."""
    torch = torch_of(context)
    return {} if torch.reason else {**_by(converter(context)), **torch.versions}


def _by(chosen: Converter) -> dict[str, str]:
    """Return the versions of the library that the twin is read with."""
    return {name: version for name, version in chosen.versions().items() if name != "transformers"}


def twin_facts(context: Context) -> TwinFacts:
    """Compare the twin of the source, or say why that is not possible; a comparison of the same config is kept."""
    return context.once("twin", lambda: _facts(context))


def torch_of(context: Context) -> Torch:
    """Return the Python that has torch, looked for once a run."""
    return context.once("torch", find_torch)


def _facts(context: Context) -> TwinFacts:
    torch, support = torch_of(context), converter(context).support()
    config = dict(metadata_of(context).config.raw)
    if support is None:
        return TwinFacts(None, f"{converter(context).distribution} is not installed here")
    if torch.reason:
        return TwinFacts(None, torch.reason)
    sees = _sees(metadata_of(context)) if converter(context).senses else None
    inputs = {"config": config, "tools": twin_tools(context), "mlx-publish": __version__}
    inputs |= {"sees": to_json(sees)} if sees else {}
    kept = Kept(context.work.source / "twin.json", TwinProof, inputs)
    if (known := kept.known()) is not None:
        return TwinFacts(known)
    context.console.progress("proving the architecture on a small random twin")
    console = context.console
    by = _by(converter(context))

    def read(config: Config) -> Config:
        return normalise_config(config, senses=sees is not None)[0]

    with Prover(torch, context.work.source, console.progress, read, context.children, by) as prover:
        facts = prover.prove(config, sees)
    if facts.proof is not None:
        kept.keep(facts.proof)
    return facts


def _sees(metadata: Metadata) -> Sees:
    """Return what a source says beside its config; a file that cannot be read is said by a check of its own."""
    try:
        files = {path: metadata.json(path) or {} for path in ("preprocessor_config.json", "processor_config.json")}
        index = (metadata.index or {}).get("weight_map")
        names = list(index) if isinstance(index, Mapping) else [tensor.name for tensor in metadata.stored_tensors]
    except PublishError:
        return Sees({}, ())
    nested = files["processor_config.json"].get("image_processor")  # as transformers 5 writes it
    settings = nested if isinstance(nested, Mapping) else files["preprocessor_config.json"]
    return Sees(settings, [str(name) for name in names])


class Prover:
    """Makes twins by transformers, lets mlx-lm read them, compares, and finds the key to blame; one after the other.

    What the children print goes to the folder `logs`. `read` makes the config that mlx-lm is shown.
    """

    def __init__(
        self,
        torch: Torch,
        logs: Path,
        progress: Tell,
        read: Callable[[Config], Config] | None = None,
        children: Children | None = None,
        by: Mapping[str, str] | None = None,
    ) -> None:
        """Start nothing yet; `children` do the part of the library, whose versions are `by`."""
        self._torch, self._logs, self._progress = torch, logs, progress
        self._read = read or self._normalised
        self._child = TorchChild(torch, logs / "twin-torch.log")
        self._aside = TemporaryFolder()
        self._children = children
        self._by = by or versions("mlx", "mlx-lm")
        self._source: dict[str, object] | None = None
        self._made = 0

    def __enter__(self) -> Self:
        self._child.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._child.end()
        self._aside.cleanup()

    def prove(self, config: Config, sees: Sees | None = None) -> TwinFacts:
        """Compare the twin of one config; where it differs, look for the key to blame.

        One that `sees` is shown pictures too.
        """
        self._source = None
        order = {"op": "small", "config": config, "folder": self._aside.name, "senses": sees is not None}
        answer = self._child.ask(order, _LIMIT)
        if answer.result is None:
            return TwinFacts(None, answer.reason)
        small = from_json(SmallConfig, answer.result)
        if sees:
            drawn = Path(self._aside.name) / "pictures"
            undrawn = self._draw(sees, config, small.config, drawn)
            self._source = {"names": sees.names, "drawn": str(drawn), "undrawn": undrawn}
        first = self._compared(small.config, 0)
        if isinstance(first, str):
            return TwinFacts(None, first)
        proof, texts = first
        if proof.problem:
            if _LACKING not in proof.problem:
                # The key to blame is the one without which mlx-lm computes at all.
                proof = _blamed(proof, self._culprit(candidates(small.config), texts[:1], lambda _: True))
        elif not _agrees(proof):
            # A choice of experts that hangs on the last digit falls otherwise now and then, with other numbers not.
            second = self._compared(small.config, _SEED)
            if not isinstance(second, str) and _agrees(second[0]):
                proof = second[0]
            else:
                proof = self._explained(proof, small, texts)
        return TwinFacts(from_json(TwinProof, rounded(to_json(proof))))

    def _compared(self, config: Config, seed: int) -> tuple[TwinProof, Texts] | str:
        """Return what one twin shows, with its texts; or the reason for which it shows nothing."""
        twin = self._make(config, seed)
        if isinstance(twin, str):
            return twin
        made, [read] = twin.made, self._read_by_mlx([twin.folder], twin.made.texts)
        if _METAL in read.problem:
            return "its mlx-lm class runs on Metal only"
        compared = TwinTexts([]) if read.problem else self._compare(twin.folder)
        pictures = PicturesProof(read.picture_problem, made.no_pictures, compared.pictures)
        proof = TwinProof(
            class_=made.class_,
            parameters=made.parameters,
            problem=read.problem,
            lost=read.lost,
            against="transformers",
            versions=self._torch.versions,
            mlx_lm=self._by,
            boundary=None,
            blame=None,
            value=None,
            texts=compared.texts,
            pictures=pictures if self._source else None,
        )
        return proof, made.texts

    def _explained(self, proof: TwinProof, small: SmallConfig, texts: Texts) -> TwinProof:
        boundary = _boundary(proof, small.boundaries)
        if boundary:
            proof = replace(proof, boundary=MetBoundary(boundary.key, boundary.value))
        if proof.lost:
            return proof
        # Where the short text shows it, the long one need not be read for each key that is tried.
        short = proof.texts[0].nmse
        some = texts[:1] if short is not None and short > MAX_NMSE else texts
        tried = candidates(small.config, boundary.key if boundary else "")
        # The key to blame is the one whose neutral value makes both agree.
        if not agrees(proof.texts):
            return _blamed(proof, self._culprit(tried, some, lambda folder: agrees(self._compare(folder).texts)))
        # It differs with pictures alone, which each candidate is shown.
        tried = [*picture_candidates(small.config), *tried]
        return _blamed(proof, self._culprit(tried, texts[:1], lambda folder: _settled(self._compare(folder))))

    def _make(self, config: Config, seed: int = 0, count: int = 2) -> _Twin | str:
        """Let transformers make a twin; the reason where it cannot."""
        folder = Path(self._aside.name) / str(self._made)
        self._made += 1
        folder.mkdir()
        order = {"op": "twin", "config": config, "folder": str(folder), "seed": seed, "count": count}
        order |= {"source": self._source} if self._source else {}
        answer = self._child.ask(order, _LIMIT)
        if answer.result is None:
            return answer.reason
        (folder / WRITTEN / "config.json").write_text(json_text(self._read(config)), encoding="utf-8")
        return _Twin(folder, from_json(TwinMade, answer.result))

    def _normalised(self, config: Config) -> Config:
        return normalise_config(config, senses=self._source is not None)[0]

    def _draw(self, sees: Sees, config: Config, small: Config, folder: Path) -> str:
        """Let the source's processor make inputs of small pictures; returns why that is not possible."""
        settings, side = small_processor(sees.processor, config, small)
        arguments = {"config": small, "settings": settings, "side": side, "folder": str(folder)}
        bounds = Bounds(_DRAWING, _MOST_DRAWN)
        job = Job("drawn", arguments, self._logs / "twin-pictures.log", bounds, self._children)
        try:
            return from_json(PicturesDrawn, run_job(job, self._progress)).problem
        except Refused as error:  # it took more memory than small pictures need
            return f"its image processor cannot be used: {error.message}"

    def _read_by_mlx(self, folders: Sequence[Path], texts: Texts) -> Sequence[TwinRead]:
        arguments = {"folders": [str(folder / WRITTEN) for folder in folders], "texts": texts}
        job = Job("twin", arguments, self._logs / "twin-mlx.log", Bounds(_LIMIT), self._children)
        return from_json(TwinsRead, run_job(job, self._progress)).twins

    def _compare(self, folder: Path) -> TwinTexts:
        order = {"op": "compare twin", "read": str(folder / WRITTEN), "folder": str(folder)}
        answer = self._child.ask(order, _LIMIT)
        if answer.result is None:
            raise SurroundingsError(answer.reason, remedy="Run the same command again.")
        return from_json(TwinTexts, answer.result)

    def _culprit(self, tried: Sequence[Candidate], texts: Texts, settles: Callable[[Path], bool]) -> Candidate | None:
        """Return the first candidate that mlx-lm computes and that `settles` it."""
        until = time.monotonic() + _BLAME
        self._progress("looking for the key to blame")

        def try_(some: Sequence[Candidate]) -> list[bool]:
            if time.monotonic() > until:
                return [False] * len(some)
            twins = [self._make(candidate.config, count=len(texts)) for candidate in some]
            folders = [twin.folder for twin in twins if isinstance(twin, _Twin)]
            read = dict(zip(folders, self._read_by_mlx(folders, texts), strict=True)) if folders else {}
            return [
                isinstance(twin, _Twin)
                and not (read[twin.folder].problem or read[twin.folder].picture_problem)
                and settles(twin.folder)
                for twin in twins
            ]

        return culprit(tried, try_, _AT_ONCE)


def agrees(texts: Sequence[LogitsComparison]) -> bool:
    """Return whether both texts of a twin are computed alike."""
    return all(text.nmse is not None and text.nmse <= MAX_NMSE for text in texts)


def _agrees(proof: TwinProof) -> bool:
    """Return whether a twin is computed alike, with pictures too where they were shown to it."""
    pictures = proof.pictures
    return agrees(proof.texts) and (pictures is None or (not pictures.problem and _alike(pictures.texts)))


def _alike(pictures: Sequence[TwinPicture]) -> bool:
    """Return whether texts with pictures are computed alike."""
    return all(text.nmse is not None and text.nmse <= MAX_PICTURES_NMSE for text in pictures)


def _settled(compared: TwinTexts) -> bool:
    """Return whether a twin is computed alike with text and with the pictures that it was shown."""
    return agrees(compared.texts) and bool(compared.pictures) and _alike(compared.pictures)


def _blamed(proof: TwinProof, key: Candidate | None) -> TwinProof:
    return replace(proof, blame=key.key, value=key.value) if key else proof


def _boundary(proof: TwinProof, boundaries: Sequence[Boundary]) -> Boundary | None:
    """Return the boundary right before the first position that differs in the long text alone."""
    position = proof.texts[-1].position
    if position is None or proof.texts[0].position is not None:
        return None
    met = [boundary for boundary in boundaries if boundary.position <= position < boundary.position + _NEAR]
    return max(met, key=lambda boundary: boundary.position, default=None)
