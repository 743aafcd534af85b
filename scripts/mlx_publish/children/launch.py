"""What every Python that is started here runs first: `python -I launch.py ROOT MODULE WORDS...`.

Isolated (-I), a Python looks neither into the current folder nor into PYTHONPATH, the user's own packages or any
other variable that begins with PYTHON. So it is told by ROOT where this very package is. It comes behind the standard
library, so that nothing beside the package can stand in for a module of it.
"""

import contextlib
import runpy
import sys


def _behind_the_standard_library(root: str) -> None:
    if root not in sys.path:
        places = (at for at, path in enumerate(sys.path) if path.endswith(("site-packages", "dist-packages")))
        sys.path.insert(next(places, len(sys.path)), root)


def _first_to_go() -> None:
    """Let Linux end this process rather than others of the machine where the memory becomes full."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123  pathlib takes its time
        file.write("1000")


if __name__ == "__main__":
    _, given_root, module, *words = sys.argv
    _behind_the_standard_library(given_root)
    _first_to_go()
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
