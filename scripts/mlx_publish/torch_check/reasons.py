"""Why transformers computes something not, in words."""

from __future__ import annotations

_LONGEST = 300  # characters


def error_words(error: Exception) -> str:
    """Return the reason that an error of transformers is."""
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError) or "allocate memory" in message:
        return "out of memory"
    short = message if len(message) <= _LONGEST else message[:_LONGEST] + " ..."
    return f"transformers cannot compute it: {type(error).__name__}: {short}"
