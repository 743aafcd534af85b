"""What a method is, and the form of a variant that it gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True)
class Form:
    """What a variant is, with its defaults filled in; what does not hold for all of its weights is None."""

    quantized: bool
    bits: int | None = None
    """Of a quantized weight."""
    group_size: int | None = None
    """Weights that share one scale."""
    mode: str | None = None
    mixed: str | None = None
    dtype: str | None = None
    """Type of what is not quantized."""
    options: Mapping[str, object] = field(default_factory=dict, hash=False)
    """Keys of a method that chooses or learns, as a recipe has them."""

    def plain(self) -> dict[str, object]:
        """Return what evidence says of it: options only where there are any."""
        return {key: value for key, value in vars(self).items() if key != "options" or value}


class Method(ABC):
    """A way to choose and write the bits of a variant. `engine/methods` has a module of the same name that writes."""

    name: ClassVar[str]
    order: ClassVar[int] = 0
    """Where its keys stand in a recipe: lower ones come first. The first method is that of a variant without a key."""
    options: ClassVar[type[BaseModel]]
    """Its keys of a variant, each with its flag and a text below it for the docs."""
    learns: ClassVar[bool] = False
    """Whether it chooses or learns; such a variant is published only where it beats plain rounding at equal bytes."""
    portable: ClassVar[bool] = True
    """Whether all machines give the same bytes."""
    short_names: ClassVar[tuple[str, ...]] = ()
    """Examples for the error about a name that nobody knows."""

    def claims(self, keys: Any) -> bool:
        """Return whether the keys of a variant ask for this method."""
        return any(getattr(keys, key, None) is not None for key in self.options.model_fields)

    @abstractmethod
    def read(self, short: str) -> dict[str, object] | None:
        """Return the keys that a short name stands for, as `4bit`; None if it is none of this method."""

    @abstractmethod
    def judge(self, keys: Any) -> None:
        """Raise `wrong_key` where its keys do not fit together."""

    @abstractmethod
    def form(self, keys: Any) -> Form:
        """Return what they ask for, but for the dtype."""

    @abstractmethod
    def label(self, form: Form) -> str:
        """Return the name of a variant, but for the dtype."""

    @abstractmethod
    def flags(self, form: Form) -> list[str]:
        """Return the flags of the command line that ask for it."""

    @abstractmethod
    def bits_per_weight(self, form: Form, wide: float) -> float:
        """Return the bits of a quantized weight with its share of scales, at most; an unquantized one has `wide`."""

    @abstractmethod
    def better(self, form: Form) -> str:
        """Return the advice for a variant that is too far from its source."""


def wrong_key(key: str, message: str) -> PydanticCustomError:
    """Return an error at `key` of the mapping being validated; `recipes.read` looks its line up."""
    return PydanticCustomError("variant", "{reason}", {"reason": message, "key": key})
