"""``python -m aiops`` is the same as ``aiops``."""

import sys

from aiops.cli import main

sys.exit(main())
