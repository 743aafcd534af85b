"""`python -m mlx_publish` is `mlx-publish`."""

import os
import sys

# `-m` puts the current folder first, which may be a model's or a branch's: a module in it would run as one of ours.
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
try:
    _HERE = os.getcwd()
    sys.path[:] = [path for path in sys.path if path and (os.path.realpath(path) != _HERE or path == _ROOT)]
except OSError:  # the current folder was removed
    sys.path[:] = [path for path in sys.path if os.path.isabs(path)]

from mlx_publish.cli import main  # noqa: E402

sys.exit(main())
