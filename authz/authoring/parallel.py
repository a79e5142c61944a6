"""Runs test cases in several processes, each over the one policy that was loaded before they parted."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from authz.authoring.cases import Case
from authz.authoring.verify import CaseResult, Verifier
from authz.policy.coverage import Tally

_WORTH_A_PROCESS = 500
"""So many cases take about as long as starting a process does."""
_CHUNKS_EACH = 4

_verifier: Verifier | None = None
"""Handed to the children by forking: a policy of 100,000 rules is loaded once, not once for each."""


def run_cases(verifier: Verifier, cases: Sequence[Case], jobs: int) -> tuple[list[CaseResult], list[Sequence[Tally]]]:
    """Run cases in order; answer their results, and what each process saw of the rules."""
    jobs = min(jobs, len(cases))
    if jobs <= 1:
        return [verifier.run(case) for case in cases], [verifier.tallies]
    global _verifier  # noqa: PLW0603 - see there
    _verifier = verifier
    size = -(-len(cases) // (jobs * _CHUNKS_EACH))
    chunks = [cases[start : start + size] for start in range(0, len(cases), size)]
    try:
        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("fork")) as pool:
            done = list(pool.map(_run_chunk, chunks))
    finally:
        _verifier = None
    return [result for results, _ in done for result in results], [tallies for _, tallies in done]


def jobs_for(asked: int, cases: int, cores: int) -> int:
    """Answer how many processes are worth it; `asked` 0: whatever is."""
    return asked or max(1, min(cores, cases // _WORTH_A_PROCESS))


def _run_chunk(cases: Sequence[Case]) -> tuple[list[CaseResult], Sequence[Tally]]:
    if _verifier is None:
        raise RuntimeError("a child process without a verifier")
    verifier = _verifier.fresh()
    return [verifier.run(case) for case in cases], verifier.tallies
