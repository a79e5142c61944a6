"""Makes `identity_pki`, which lies with the unit tests, importable for the tests in this directory."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "unit" / "identity"))
