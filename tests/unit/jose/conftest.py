"""Makes `identity_pki`, which lies with the identity tests, importable for the tests in this directory."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "identity"))
