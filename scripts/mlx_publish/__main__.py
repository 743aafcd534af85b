"""`python -m mlx_publish` is `mlx-publish`."""

import sys

from mlx_publish.cli import main

sys.exit(main())
