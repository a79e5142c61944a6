"""Makes the transport's test kit importable, and gives clients time."""

import sys
from pathlib import Path

import pytest

_SUPPORT = str(next(p for p in Path(__file__).resolve().parents if p.name == "tests") / "support")
if _SUPPORT not in sys.path:
    sys.path.insert(0, _SUPPORT)


@pytest.fixture
def patient_endings(monkeypatch):
    """Clients that share a busy machine with their server see later than others that it asks them to go elsewhere."""
    monkeypatch.setattr("authz.transport.ending.SETTLE_SECONDS", 0.2)
    monkeypatch.setattr("authz.transport.ending.LINGER_SECONDS", 0.5)
