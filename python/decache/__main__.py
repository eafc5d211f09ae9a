# SPDX-License-Identifier: MIT
"""``python -m decache``: the same as the command ``decache``."""

import sys

from ._cli import main

if __name__ == "__main__":
    sys.exit(main())
