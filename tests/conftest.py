"""What every test shares: the support modules on the path, and how hard hypothesis tries."""

import os
import pathlib
import sys

from hypothesis import HealthCheck, settings

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))

# The suite's profile is derandomised so that a run can be repeated; `make fuzz` tries new inputs, many more.
settings.register_profile("suite", max_examples=200, deadline=None, derandomize=True)
settings.register_profile("fuzz", max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))
