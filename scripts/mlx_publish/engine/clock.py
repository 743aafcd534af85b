"""The time that templates are told while they are rendered here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from transformers.utils import chat_template_utils


@contextlib.contextmanager
def fixed_clock(now: datetime) -> Iterator[None]:
    """Templates ask transformers for the time; it looks `datetime` up in this module."""

    class Fixed(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return now.replace(tzinfo=tz)

    before = chat_template_utils.datetime
    chat_template_utils.datetime = Fixed
    try:
        yield
    finally:
        chat_template_utils.datetime = before
