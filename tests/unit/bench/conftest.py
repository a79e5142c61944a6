"""The suite lies beside the package, at the top of the repository."""

import pathlib
import sys

ROOT = str(pathlib.Path(__file__).parents[3])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
