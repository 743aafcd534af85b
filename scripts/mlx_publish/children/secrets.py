"""Keep what this process was given from its children: they may look into /proc, or ask macOS, as the same user."""

from __future__ import annotations

import contextlib
import os
import sys

from mlx_publish.children.environment import KEPT

_NOT_DUMPABLE = 4  # PR_SET_DUMPABLE
_HARMLESS = frozenset(
    {*KEPT, "HOME", "TMPDIR", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "SHLVL", "TERM", "HOSTNAME", "_"}
)


def hide() -> None:
    """Wipe the memory in which the system shows this process's environment to others, but for what is no secret.

    This process still has all of it in `os.environ`; what it starts is shown what it is given. On Linux its memory
    becomes unreadable for others of the same user, and it leaves no core file.
    """
    names = [name for name in os.environ if name not in _HARMLESS]
    if not names:
        return
    import ctypes  # noqa: PLC0415  it takes milliseconds

    with contextlib.suppress(OSError, AttributeError, ValueError):
        library = ctypes.CDLL(None)
        if sys.platform == "linux":
            library.prctl(_NOT_DUMPABLE, 0, 0, 0, 0)
        entries = ctypes.POINTER(ctypes.c_void_p).in_dll(library, "environ")
        wanted, at = {os.fsencode(name) for name in names}, 0
        while address := entries[at]:
            entry = ctypes.string_at(address)
            name, _, value = entry.partition(b"=")
            if name in wanted:
                ctypes.memset(address + len(name) + 1, 0, len(value))
            at += 1
        for key in names:
            os.environ[key] = os.environ[key]  # libraries that are not Python's ask for it, too
