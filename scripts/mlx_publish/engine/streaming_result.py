"""What is known of a conversion when all of its units are made, in whatever order: as if it had gone by the model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from mlx_publish.engine.convert import Output
from mlx_publish.engine.rows import count
from mlx_publish.engine.streaming_journal import Verdict
from mlx_publish.engine.streaming_units import Computed, Stored, StreamedParameters, Unit, Whole


class Places:
    """The order in which the ordinary way writes the tensors of each variant."""

    def __init__(self, parameters: StreamedParameters, outputs: Sequence[Output]) -> None:
        """Go through the model, module by module."""
        self.of: dict[str, dict[str, int]] = {}
        """By variant and tensor: the position of what it is made of."""
        by_module: dict[str, list[str]] = {}
        for path in parameters.paths:
            by_module.setdefault(path.rpartition(".")[0], []).append(path)
        for output in outputs:
            groups: list[Sequence[str]] = []
            for module, paths in by_module.items():
                groups += [output.ways[path].names for path in paths if path in output.ways]
                groups.append([name for name, _ in output.whole.get(module, ())])
            groups += [[n for n, _ in arrays] for module, arrays in output.whole.items() if module not in by_module]
            self.of[output.label] = {name: place for place, names in enumerate(groups) for name in names}


class Result:
    """The judgements of all units together."""

    def __init__(self, parameters: StreamedParameters, units: Sequence[Unit], verdicts: Mapping[int, Verdict]) -> None:
        """Take the verdicts of all units by their numbers; one that is missing has nothing to tell."""
        self._shapes = {path: tuple(array.shape) for path, array in parameters.arrays.items()}
        self._paths = parameters.paths
        self._verdicts = verdicts
        self._parts = Counter[str]()
        self._whole = Counter[tuple[str, str]]()
        for unit in units:
            if isinstance(unit, Stored):
                self._parts[unit.path] += 1
            elif isinstance(unit, Computed):
                self._parts.update(unit.paths)
            elif isinstance(unit, Whole):
                self._whole[unit.label, unit.module] += 1
        self._zero = Counter(path for verdict in verdicts.values() for path in verdict.zero)
        self._zeros = Counter(
            (label, name) for verdict in verdicts.values() for label, names in verdict.zeros.items() for name in names
        )

    def dead(self) -> list[str]:
        """Return the source's weights that are zero all over."""
        return [path for path in self._paths if self._is_matrix(path) and self._zero[path] == self._parts[path]]

    def tell(self, output: Output, places: Mapping[str, int]) -> None:
        """Put what became of a variant's weights into it; `places` are those of its tensors."""
        of = {name: path for path, way in output.ways.items() for name in way.names}
        for name in places:
            path = of.get(name)
            if path is None:
                zero = self._zeros[output.label, name] > 0
            else:
                zero = self._is_matrix(path) and self._zeros[output.label, name] == self._parts[path]
            if name.endswith(".weight") and zero:
                output.zero[name] = True
        found = [
            verdict.overflow[output.label] for verdict in self._verdicts.values() if output.label in verdict.overflow
        ]
        output.overflows = min(found)[3] if found else ""

    def _is_matrix(self, path: str) -> bool:
        shape = self._shapes[path]
        return len(shape) > 1 and bool(math.prod(count(shape)))
