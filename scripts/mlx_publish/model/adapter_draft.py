"""What an adapter changes, gathered tensor by tensor: each has its place in the base, or the adapter is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from mlx_publish.model.adapted import Adapted, Factor, Update
from mlx_publish.model.adapter_base import TURNED, Base, Slot, bare
from mlx_publish.model.adapter_parts import Parts, complete, not_placed
from mlx_publish.model.names import shown
from mlx_publish.model.weights import TensorInfo

FLOATS = frozenset({"F32", "F16", "BF16"})
Same = Callable[[str, str, bool], bool]
"""Whether two tensors of the adapter hold the same numbers; the third says that the second one is transposed."""


@dataclass
class Draft:
    """What is known of the changes so far, by the tensors that they make."""

    base: Base
    same: Same
    instead: dict[str, TensorInfo] = field(default_factory=dict)
    updates: dict[str, list[Update]] = field(default_factory=dict)
    magnitude: dict[str, tuple[TensorInfo, bool]] = field(default_factory=dict)
    tokens: dict[str, tuple[TensorInfo, tuple[int, ...]]] = field(default_factory=dict)
    added: dict[str, tuple[TensorInfo, float]] = field(default_factory=dict)
    origins: dict[str, TensorInfo] = field(default_factory=dict)
    """The base's tensors by what is made of them: that name, or the head of a model whose head is its embedding."""

    def target(self, names: Sequence[str], of: TensorInfo) -> str:
        """Return the name of what is made, and remember what of. `Refused` if the base has no such tensor."""
        for name in names:
            if (found := self.base.find(name)) is not None:
                is_head = self.base.tied and bare(name) == bare(self.base.head)
                return self.of_base(self.base.head if is_head else found.name, found, of)
        raise not_placed(of, f"adapts {shown(names[0], 200)}, and the base has no such tensor")

    def of_base(self, made: str, found: TensorInfo, of: TensorInfo) -> str:
        """Remember what a tensor is made of. `Refused` if those are no plain numbers."""
        if found.dtype not in FLOATS:
            raise not_placed(
                of,
                f"adapts {shown(found.name, 200)}, which the base holds as {found.dtype}",
                "Set `source` to the unquantized base, or to a quantized one in a form that is read.",
            )
        self.origins[made] = found
        return made

    def shape(self, made: str) -> tuple[int, ...]:
        """Return the shape of what is made: that of the tensor in the place of the base's, where there is one."""
        return self.instead.get(made, self.origins[made]).shape

    def whole(self, names: Sequence[str], tensor: TensorInfo) -> None:
        """Put a tensor in the place of the base's. An embedding, or a head, may have grown or shrunk."""
        made = self.target(names, tensor)
        old = self.origins[made].shape
        resized = made in (self.base.embedding, self.base.head) and len(tensor.shape) == 2
        if tensor.shape != old and not (resized and tensor.shape[1] == old[1] and tensor.shape[0]):
            raise not_placed(tensor, f"has the shape {list(tensor.shape)}, and the base's tensor {list(old)}")
        if (other := self.instead.get(made)) is not None and self.same(other.name, tensor.name, False):
            return  # PEFT saves a trained embedding that was resized under two names
        if other is not None:
            raise not_placed(tensor, f"is one of two tensors in the place of {shown(made, 200)}", "Save it again.")
        self.floats(tensor)
        self.instead[made] = tensor

    def update(self, made: str, update: Update, *tensors: TensorInfo) -> None:
        """Add a product to rows of a weight."""
        for tensor in tensors:
            self.floats(tensor)
        self.updates.setdefault(made, []).append(update)

    def floats(self, tensor: TensorInfo) -> None:
        """Raise `Refused` if a tensor of the adapter is none of floats."""
        if tensor.dtype not in FLOATS:
            raise not_placed(tensor, f"is stored as {tensor.dtype}, not as floats of 16 or 32 bits", "Save it again.")

    def matrix(self, parts: Parts, scale: float, rank: int, *, dora: bool) -> None:
        """Place an update of one matrix: lora_A is (rank, in), lora_B (out, rank)."""
        optional = {"lora_B.bias": False, "lora_magnitude_vector": dora}
        complete(parts, {"lora_A": True, "lora_B": True, **optional})
        a, b = parts.tensors["lora_A"], parts.tensors["lora_B"]
        right_rank(a, b, rank)
        name, slot = f"{parts.module}.weight", None
        if self.base.find(name) is None:
            slot = self.base.in_a_stack(parts.module)
        if slot is not None:
            made = self.of_base(slot.tensor.name, slot.tensor, a)
            fits(a, b, (b.shape[0], a.shape[1]), (slot.rows, slot.tensor.shape[-1]), made)
            self.update(made, Update(slot.first, slot.rows, Factor(b.name), Factor(a.name), scale, rank), a, b)
            if "lora_magnitude_vector" in parts.tensors:
                raise not_placed(a, "is DoRA of one expert, and the base holds the experts in one tensor", _SEPARATE)
        else:
            made = self.target((name,), a)
            self.dense(made, parts, scale, rank)
        if "lora_B.bias" in parts.tensors:
            bias = parts.tensors["lora_B.bias"]
            biased = self.target((f"{parts.module}.bias",), bias)
            if bias.shape != self.shape(biased):
                raise not_placed(bias, f"has the shape {list(bias.shape)}, and the bias {list(self.shape(biased))}")
            self.floats(bias)
            self.added[biased] = bias, scale

    def dense(self, made: str, parts: Parts, scale: float, rank: int) -> None:
        """Place an update of a matrix that is a tensor of the base."""
        a, b, shape = parts.tensors["lora_A"], parts.tensors["lora_B"], self.shape(made)
        straight, turned = (b.shape[0], a.shape[1]) == shape, (a.shape[1], b.shape[0]) == shape
        if turned and (not straight or self.base.kinds & TURNED):
            left, right = Factor(a.name, turned=True), Factor(b.name, turned=True)
        else:
            fits(a, b, (b.shape[0], a.shape[1]), shape, made)
            left, right, turned = Factor(b.name), Factor(a.name), False
        self.update(made, Update(0, shape[0], left, right, scale, rank), a, b)
        if (magnitude := parts.tensors.get("lora_magnitude_vector")) is not None:
            self.lengths(made, magnitude, b.shape[0], columns=turned)

    def lengths(self, made: str, magnitude: TensorInfo, count: int, *, columns: bool) -> None:
        """Give rows, or columns, lengths of their own."""
        if prod(magnitude.shape) != count:
            raise not_placed(magnitude, f"has {prod(magnitude.shape):,} numbers for {count:,} rows")
        self.floats(magnitude)
        self.magnitude[made] = magnitude, columns

    def embedding(self, parts: Parts, scale: float, rank: int, *, dora: bool) -> None:
        """Place an update of an embedding: lora_embedding_A is (rank, rows), lora_embedding_B (columns, rank)."""
        complete(parts, {"lora_embedding_A": True, "lora_embedding_B": True, "lora_magnitude_vector": dora})
        a, b = parts.tensors["lora_embedding_A"], parts.tensors["lora_embedding_B"]
        right_rank(a, b, rank)
        made = self.target((f"{parts.module}.weight",), a)
        fits(a, b, (a.shape[1], b.shape[0]), self.shape(made), made)
        left, right = Factor(a.name, turned=True), Factor(b.name, turned=True)
        self.update(made, Update(0, a.shape[1], left, right, scale, rank), a, b)
        if (magnitude := parts.tensors.get("lora_magnitude_vector")) is not None:
            self.lengths(made, magnitude, b.shape[0], columns=True)

    def rows(self, module: str, tensor: TensorInfo, ids: tuple[int, ...]) -> None:
        """Put rows in the place of an embedding's."""
        made = self.target((f"{module}.weight",), tensor)
        rows, columns = self.shape(made)
        if tensor.shape != (len(ids), columns) or max(ids) >= rows:
            raise not_placed(
                tensor, f"has the shape {list(tensor.shape)} for {len(ids)} rows of an embedding of {[rows, columns]}"
            )
        self.floats(tensor)
        self.tokens[made] = tensor, ids

    def stacked(self, slots: Sequence[Slot], of: TensorInfo, update: Update) -> None:
        """Place the update of one expert, whose rows may lie in several tensors, one below the other."""
        first = 0
        for slot in slots:
            made = self.of_base(slot.tensor.name, slot.tensor, of)
            self.update(
                made, replace(update, first=slot.first, rows=slot.rows, left=replace(update.left, first=first)), of
            )
            first += slot.rows

    def changes(self) -> Mapping[str, Adapted]:
        """Return all that is made, by name."""
        names = dict.fromkeys((*self.instead, *self.updates, *self.tokens, *self.added))
        return {name: self._change(name) for name in names}

    def _change(self, name: str) -> Adapted:
        origin, instead = self.origins[name], self.instead.get(name)
        magnitude, columns = self.magnitude.get(name, (None, False))
        rows, ids = self.tokens.get(name, (None, ()))
        added, scale = self.added.get(name, (None, 1.0))
        return Adapted(
            name,
            origin.dtype,
            self.shape(name),
            origin.name,
            instead.name if instead else None,
            tuple(self.updates.get(name, ())),
            magnitude.name if magnitude else None,
            columns,
            ids,
            rows.name if rows else None,
            added.name if added else None,
            scale,
        )


_SEPARATE = "Set `source` to a base that holds each expert for itself."


def right_rank(a: TensorInfo, b: TensorInfo, rank: int) -> None:
    """Raise `Refused` if two matrices have not the rank that the config says."""
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise not_placed(a, "adapts something else than a matrix, as a convolution", "Train without that module.")
    if a.shape[0] != rank or b.shape[1] != rank:
        raise not_placed(
            a,
            f"and {shown(b.name, 200)} have the shapes {list(a.shape)} and {list(b.shape)}, and the rank that "
            f"adapter_config.json says is {rank}",
            "Complete the adapter.",
        )


def fits(a: TensorInfo, b: TensorInfo, made: Sequence[int], shape: Sequence[int], name: str) -> None:
    """Raise `Refused` if the product of two matrices, which has the shape `made`, is not of the shape of a weight."""
    if tuple(made) != tuple(shape):
        shapes = f"{list(a.shape)} and {list(b.shape)}"
        raise not_placed(a, f"and its pair have the shapes {shapes}, and {shown(name, 200)} has {list(shape)}")
