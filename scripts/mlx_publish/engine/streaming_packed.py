"""Quantized weights of a source that arrives: how they are read is proven, and what is repacked found, one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mlx_publish.engine.derived import DerivedRows
from mlx_publish.engine.making import Way
from mlx_publish.engine.parameters import Parameters
from mlx_publish.engine.reading_proof import Read, all_read, compare, compare_whole, packed_weights, repacks_of, wholes
from mlx_publish.engine.repacking import FORMS, repacked_rows
from mlx_publish.engine.strange import Figures
from mlx_publish.engine.streaming_units import Proof, StreamedParameters
from mlx_publish.evidence.conversion import PackedRead, Repacked
from mlx_publish.model.packed_weight import PackedWeight
from mlx_publish.model.repackable import why_not


@dataclass
class Planned:
    """What one variant could repack, as far as headers tell."""

    total: int = 0
    """Quantized weights of the source that it packs."""
    perhaps: dict[str, DerivedRows] = field(default_factory=dict)
    """Parameters whose numbers decide, which have to be there for that."""
    reasons: dict[str, str] = field(default_factory=dict)
    """By parameter why it cannot be repacked."""
    weights: dict[str, int] = field(default_factory=dict)
    """By parameter the number of its weights."""

    def plan(self, made: Mapping[str, Way], parameters: Parameters) -> tuple[dict[str, Way], Repacked | None]:
        """Look at the ways of a variant; they stay as they are until the numbers are there."""
        for path, way in made.items():
            rows = parameters.derived(path) if way.packing else None
            if rows is None or way.packing is None:
                continue
            self.total += len(rows.tensors)
            self.weights[path] = len(rows.tensors)
            weight = getattr(rows.tensors[0], "weight", None)
            if not isinstance(weight, PackedWeight):
                self.reasons[path] = "it is computed"
            elif (reason := why_not(weight, *way.packing)) or weight.form not in FORMS:
                self.reasons[path] = reason or f"nothing repacks {weight.form}"
            else:
                self.perhaps[path] = rows
        return dict(made), None

    def told(self, notes: dict[str, Any], label: str) -> Repacked | None:
        """Return what became of it; the notes are those of all units."""
        if not self.total:
            return None
        reasons, found = Counter[str](), []
        for path, number in self.weights.items():
            note = notes[f"repack {label} {path}"] if path in self.perhaps else self.reasons[path]
            if isinstance(note, str):
                reasons[note] += number
            else:
                found.append((number, *note))
        return Repacked(
            weights=sum(one[0] for one in found),
            of=self.total,
            groups=sum(one[1] for one in found),
            rounded=sum(one[2] for one in found),
            off=max((float(one[3]) for one in found), default=0.0),
            reasons=dict(reasons),
        )


class Packed:
    """The quantized weights of a source."""

    def __init__(self, parameters: StreamedParameters, plans: Mapping[str, Planned]) -> None:
        """Take what each variant could repack, by its label."""
        self._parameters, self._files, self.plans = parameters, parameters.files, plans
        self._weights = {tensor.name: weight for tensor, weight in packed_weights(self._files.derived)}
        self._whole = {tensor.name for tensor in wholes(self._files.derived)}
        self.paths = {path for plan in plans.values() for path in plan.perhaps}
        """Parameters that are repacked where their numbers allow it."""

    def units(self) -> list[Proof]:
        """Return a unit for each weight whose numbers decide nothing else."""
        decided = {
            tensor.name for plan in self.plans.values() for rows in plan.perhaps.values() for tensor in rows.tensors
        }
        return [Proof(tuple(sorted(self._files.parts(name))), name) for name in self._weights if name not in decided]

    def prove(self, name: str, ways: Sequence[Way] = ()) -> dict[str, Any]:
        """Compare the readers of a weight that is there; returns notes. `Refused` where they differ."""
        tensor, weight = self._files.derived[name], self._weights[name]
        read = compare(tensor, weight, self._files, repacks_of(ways).get(weight.name, ()))
        if name in self._whole:
            arrays = {part: self._parameters.as_stored(part) for part in tensor.takes}
            compare_whole(tensor, arrays, self._files)
        return {f"proof {name}": asdict(read)}

    def decide(self, path: str, ways: Mapping[str, Way]) -> tuple[dict[str, Way], dict[str, Any], list[str]]:
        """Return by variant how a parameter is made, now that it is there, notes, and the weights to be proven."""
        decided, notes, names = dict(ways), dict[str, Any](), list[str]()
        for label, way in ways.items():
            rows = self.plans[label].perhaps.get(path)
            if rows is None or way.packing is None:
                continue
            names = [tensor.name for tensor in rows.tensors if tensor.name in self._weights]
            made = repacked_rows(rows.tensors, rows.shape, way.packing, way.dtype, self._files)
            if isinstance(made, str):
                notes[f"repack {label} {path}"] = made
            else:
                decided[label] = replace(way, repack=made)
        return decided, notes, names

    def told(self, path: str, ways: Mapping[str, Way]) -> dict[str, Any]:
        """Return notes of what was repacked of a parameter, once it is made."""
        notes = {}
        for label, way in ways.items():
            if way.repack:
                told = way.repack.told
                sums = int(sum(one.groups for one in told)), int(sum(one.rounded for one in told))
                notes[f"repack {label} {path}"] = [*sums, max((float(one.off) for one in told), default=0.0)]
        return notes

    def read(self, notes: dict[str, Any]) -> PackedRead | None:
        """Return what was compared of all weights."""
        if not self._weights:
            return None
        found = [notes[f"proof {name}"] for name in self._weights]
        read = [Read(**{**one, "figures": Figures(**one["figures"])}) for one in found]
        return all_read(read, len(self._whole))
