"""Makes `identity_pki` importable for the tests in this directory."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
