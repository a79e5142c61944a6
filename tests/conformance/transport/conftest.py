"""Makes the transport's test kit importable."""

import sys
from pathlib import Path

_SUPPORT = str(next(p for p in Path(__file__).resolve().parents if p.name == "tests") / "support")
if _SUPPORT not in sys.path:
    sys.path.insert(0, _SUPPORT)
