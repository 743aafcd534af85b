"""The source as the library builds it, with a record of what became of every tensor."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten

from mlx_publish.engine.adapted_source import AdaptedSource
from mlx_publish.engine.backends import backend, keeps_senses, library
from mlx_publish.engine.in_place import apart, changed
from mlx_publish.engine.names import channels_last, early, late, towers_placed
from mlx_publish.engine.prefixes import Prefix, prefix_of
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.engine.unpacking import derived_of, idle_biases, packing_beside, unpacked
from mlx_publish.errors import Refused
from mlx_publish.model.config import ModelConfig
from mlx_publish.model.packed import Packing


@contextlib.contextmanager
def going_on() -> Iterator[None]:
    """Turn an end of the process into `Refused`, with what was printed before: mlx_lm/models/olmo.py calls exit."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    except SystemExit as end:
        missing = _missing(end)
        lacks = f"the Python package {missing} is not installed" if missing else f"it exits with code {end.code}"
        words = " ".join(printed.getvalue().split())[:400]
        raise Refused(
            f"{library()} cannot build the model: {lacks}{f' ({words})' if words else ''}",
            check="builds",
            remedy=f"Install it next to {library()}, or choose another source.",
        ) from end
    finally:
        sys.stdout.write(printed.getvalue())


def _missing(error: BaseException) -> str:
    """Return the module that could not be imported on the way to `error`; empty if that is not the cause."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ImportError):
            return cause.name or str(cause)
        cause = cause.__cause__ or cause.__context__
    return ""


Weights = dict[str, mx.array]
_LONGEST = 400
# What a class of mlx-lm raises for a config that it was not written for: it divides, asserts and looks up.
_UNBUILDABLE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    FileNotFoundError,
)


@dataclass
class Record:
    """Names, sizes and identities of tensors before and after the architecture's own renaming.

    Sizes are numbers of elements.
    """

    before: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of the source: name -> (id of the array, size)."""
    after: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of the MLX model."""

    def dropped(self) -> tuple[dict[str, int], int]:
        """Return source tensors that did not arrive as they are, and how many elements arrived in new arrays.

        Where the second equals the sum of the first, all of them were fused, split or reshaped, and none is lost.
        """
        arrived = {identity for identity, _ in self.after.values()}
        known = {identity for identity, _ in self.before.values()}
        lost = {name: size for name, (identity, size) in self.before.items() if identity not in arrived}
        made = sum(size for identity, size in self.after.values() if identity not in known)
        return lost, made


@dataclass
class SourceModel:
    """The model on lazily read weights, its config, and the ways to build it again on the same arrays."""

    model: nn.Module
    config: dict[str, Any]
    record: Record
    build: Callable[[], nn.Module]
    sanitized: Callable[[Weights], Weights]
    """What a fresh model of the class makes of arrays with the names of `arrays`; it may change the objects."""
    files: TensorFiles
    """Where the arrays lie."""
    arrays: Weights = field(default_factory=dict)
    """The source's arrays by their names."""
    prefix: Prefix | None = None
    """Set where the source's names begin otherwise than the class reads them."""
    idle: frozenset[str] = frozenset()
    """Biases of zeros, for which the class has no place: AutoGPTQ wrote one for each layer."""
    adapted: AdaptedSource | None = None
    """Set where the source is a base with an adapter."""

    def release(self) -> None:
        """Let the source's arrays go; afterwards it can be neither built nor accounted for."""
        self.arrays.clear()  # the class of the built model holds this very dict
        if self.adapted:
            self.adapted.before.clear()


class Stub(Protocol):
    """Stands in for a source whose bytes are not there yet."""

    folder: Path
    """That the library loads in its place."""

    @property
    def files(self) -> TensorFiles:
        """Return what reads them once they are."""

    def open(self) -> None:
        """Let it be loaded."""

    def shut(self) -> None:
        """Let whatever reads of it from now on fail."""

    def take(self, arrays: Weights) -> None:
        """Keep the arrays that were loaded of it."""

    def untouched(self) -> bool:
        """Return whether nothing has tried to read them."""


def load_source(folder: Path, *, wide: bool = False, stub: Stub | None = None) -> SourceModel:
    """Load `folder` lazily, without running any of its code; with `wide` all that is computed is in float32.

    Where the names of its tensors differ from those of the class by what stands in front of them, they are read so.
    With a `stub` its folder is loaded, so that no byte is read.
    Raises `Refused` if the library cannot build it or its weights do not fit the architecture.
    """
    first = _Loading(wide, stub=stub)
    try:
        return first.load(folder)
    except _UNBUILDABLE as error:
        prefix = first.prefix()
        if prefix is None:
            raise _refused(error) from error
    second = _Loading(wide, prefix, stub=stub)
    try:
        return second.load(folder)
    except _UNBUILDABLE as error:
        raise _refused(error, f"; its tensors have {prefix}, and reading them so is not enough") from error


def _refused(error: Exception, more: str = "") -> Refused:
    # MLX names the tensors in question on the lines that follow its first one.
    words = _lacking(error) or " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError):
        words = (
            f"its class looks for {words}, which is neither a key of config.json nor the beginning of a tensor's name"
        )
    return Refused(
        f"{library()} cannot build the model: {words if len(words) <= _LONGEST else words[:_LONGEST] + ' ...'}{more}",
        check="builds",
        remedy=f"Compare config.json with the weights; a newer {library()} may know the architecture better.",
    )


def _lacking(error: Exception) -> str:
    """Return the keys of config.json that a class's settings lack, as a sentence; empty for another error."""
    match = re.search(r"__init__\(\) missing \d+ required positional arguments?: (.*)", str(error))
    if not isinstance(error, TypeError) or match is None:
        return ""
    keys = re.findall(r"'(\w+)'", match[1])
    return f"config.json lacks {', '.join(keys)}, required by {library()}'s class for this model type"


@dataclass
class _Loading:
    """One try to load, with what is known of it also where it fails."""

    wide: bool
    renaming: Prefix | None = None
    record: Record = field(default_factory=Record)
    arrays: Weights = field(default_factory=dict)
    files: TensorFiles | None = None
    packing: Packing | None = None
    adapted: AdaptedSource | None = None
    fresh: Callable[[], nn.Module] | None = None
    """A model of the class on its own random weights."""
    config: dict[str, Any] = field(default_factory=dict)
    idle: frozenset[str] = frozenset()
    stub: Stub | None = None

    def load(self, folder: Path) -> SourceModel:
        self.files, self.packing = self.stub.files if self.stub else TensorFiles(folder), packing_beside(folder)
        if self.packing:
            self.files.derived.update(derived_of(self.packing))
        if (adapted := AdaptedSource.beside(folder)) is not None:
            self.adapted = adapted
            self.files.derived.update(adapted.derived_of(self.files.derived))
        with going_on():
            model, config = self._loaded(folder)
            # The class says how it would compute a token; lazily, so that no weight is read. What it raises for a
            # config that it was not written for, as a pattern longer than its layers, it raises here.
            with contextlib.suppress(RuntimeError):  # Metal alone has some kernels; whoever computes meets it
                model(mx.array([[0]]), cache=backend().make_cache(model))
            if self.stub and not self.stub.untouched():  # by a class that looks at numbers on its way
                self.arrays.clear()
                model, config = self._loaded(folder)

        def build() -> nn.Module:
            fresh = self._fresh()
            self._sanitized(fresh, apart(self.arrays))  # some classes learn from the names that they have no head
            fresh.eval()
            fresh.load_weights(tree_flatten(model.parameters()), strict=True)
            return fresh

        def sanitized(arrays: Weights) -> Weights:
            return self._sanitized(self._fresh(), arrays)

        parts = self.files, self.arrays, self.renaming, self.idle, self.adapted
        return SourceModel(model, config, self.record, build, sanitized, *parts)

    def _loaded(self, folder: Path) -> tuple[nn.Module, dict[str, Any]]:
        if self.stub:
            self.stub.open()
        loaded: tuple[nn.Module, dict[str, Any]] = backend().load_lazily(
            self.stub.folder if self.stub else folder, self._classes
        )
        return loaded

    def prefix(self) -> Prefix | None:
        """Return what stands in front of the names, where a load seems to have failed for nothing else.

        Classes of mlx-vlm have several parts, each with names of its own, and know them all.
        """
        if keeps_senses():
            return None
        try:
            wanted = [name for name, _ in tree_flatten(self._fresh().parameters())]
        except _UNBUILDABLE:
            return None
        return prefix_of(self.arrays, wanted)

    def plain(self, weights: Weights) -> Weights:
        """Return the tensors of the files with plain weights in place of what stands for them."""
        if self.packing:
            wanted = {name for name, _ in tree_flatten(self._fresh().parameters())}
            self.idle = frozenset(idle_biases(self.packing, weights, wanted, unread=self.stub is not None))
            weights = unpacked(self.packing, derived_of(self.packing), weights)
        return self.adapted.fused(weights) if self.adapted else weights

    def _fresh(self) -> nn.Module:
        if self.fresh is None:
            raise ValueError(f"{library()} built no model")
        return self.fresh()

    def _sanitized(self, model: Any, arrays: Weights, sanitizer: Any = None) -> Weights:
        """Return what the class of `model` makes of arrays, by `sanitizer` where another object sanitizes."""
        named = {
            self.renaming.renamed(name) if self.renaming else name: array
            for name, array in arrays.items()
            if name not in self.idle
        }
        named = early(named, ModelConfig(self.config))
        if keeps_senses():
            named = towers_placed(named, [name for name, _ in tree_flatten(model.parameters())])
        by = sanitizer or model
        made = dict(by.sanitize(named)) if hasattr(by, "sanitize") else named
        if keeps_senses():
            kinds = (nn.Conv2d, nn.Conv3d)
            paths = [f"{path}.weight" for path, module in model.named_modules() if isinstance(module, kinds)]
            made = channels_last(made, named, paths)
        wanted = {name: tuple(array.shape) for name, array in tree_flatten(model.parameters())}
        made = late(made, wanted, ModelConfig(self.config))
        return self.adapted.made(made, model) if self.adapted else made

    def _classes(self, config: dict[str, Any]) -> tuple[Any, Any]:
        if self.stub:  # the arrays are loaded by now, and all that follows is the class's
            self.stub.shut()
        model_class, args_class = backend().classes(config)
        loading = self
        self.config = config
        self.fresh = lambda: model_class(args_class.from_dict(config))

        class Recorded(model_class):  # type: ignore[misc, valid-type]
            def sanitize(self, weights: Weights) -> Weights:
                if loading.stub:
                    loading.stub.take(apart(weights))
                weights = loading.plain(weights)
                if loading.wide:
                    narrow = (mx.float16, mx.bfloat16)
                    weights = {
                        name: array.astype(mx.float32) if array.dtype in narrow else array
                        for name, array in weights.items()
                    }
                own = apart(weights)
                loading.arrays.update(own)  # whoever asks why a class fails wants their names
                loading.record.before = _sizes(weights)
                after = loading._sanitized(self, weights, super())
                loading.record.after = _sizes(after)
                # The object that a class changed is what it made, and the source's array is another one.
                loading.arrays.update(weights)
                loading.arrays.update({name: own[name] for name in changed(own, weights)})
                return after

        return Recorded, args_class


def _sizes(weights: Weights) -> dict[str, tuple[int, int]]:
    return {name: (id(array), array.size) for name, array in weights.items()}
