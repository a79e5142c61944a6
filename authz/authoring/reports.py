"""Test results and coverage in words, and as JUnit XML."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from xml.etree import ElementTree as ET

from authz.authoring.verify import CaseResult
from authz.policy.coverage import Coverage, RuleCoverage

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SUITE = "authz policy test"


def failures(results: Sequence[CaseResult]) -> Iterator[str]:
    """Yield each failed case: what was expected, what came, and why."""
    for result in results:
        if not result.passed:
            yield f"FAILED {result.file}:{result.line}: {result.name}"
            yield from (f"  {mismatch}" for mismatch in result.mismatches)
            yield from (f"    {line}" for line in result.why.splitlines())
            yield ""


def summary(results: Sequence[CaseResult], seconds: float) -> str:
    """Say how many passed and failed."""
    failed = sum(not result.passed for result in results)
    passed = len(results) - failed
    return f"{passed} passed, {failed} failed in {seconds:.2f} s" if failed else f"{passed} passed in {seconds:.2f} s"


def coverage_text(coverage: Coverage) -> Iterator[str]:
    """Yield what was not tried, by rule with file and line, and the totals."""
    untried = [line for rule in coverage.rules for line in _untried(rule)]
    if untried:
        yield "not tried:"
        yield from untried
    matched = sum(bool(rule.matched) for rule in coverage.rules)
    ways = [2 - len(branch.missing) for rule in coverage.rules for branch in rule.branches]
    yield (
        f"coverage: {matched} of {len(coverage.rules)} rules matched ({coverage.matched_percent:.1f} %), "
        f"{sum(ways)} of {2 * len(ways)} ways of their conditions ({coverage.branch_percent:.1f} %)"
    )


def _untried(rule: RuleCoverage) -> Iterator[str]:
    if not rule.matched:
        yield f"  {rule.rule.id}: never matched{f', erred {rule.erred} times' if rule.erred else ''}"
    for branch in rule.branches:
        for way in branch.missing:
            reached = branch.held + branch.failed
            yield f"  {rule.rule.id}: never {way}{'' if reached else ' (never reached)'}: {branch.text}"
            if not reached:
                break


def junit(results: Sequence[CaseResult], seconds: float) -> bytes:
    """Answer the results as JUnit XML, one suite for each file."""
    root = ET.Element("testsuites", {"name": _SUITE, **_counts(results), "time": f"{seconds:.3f}"})
    for file, group in groupby(results, key=lambda result: result.file):
        cases = list(group)
        suite = ET.SubElement(root, "testsuite", {"name": _plain(file), **_counts(cases)})
        for result in cases:
            case = ET.SubElement(
                suite,
                "testcase",
                name=_plain(result.name),
                classname=_plain(file),
                file=_plain(file),
                line=str(result.line),
            )
            if not result.passed:
                failure = ET.SubElement(case, "failure", message=_plain("; ".join(result.mismatches)))
                failure.text = _plain(result.why)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _counts(results: Sequence[CaseResult]) -> dict[str, str]:
    return {"tests": str(len(results)), "failures": str(sum(not result.passed for result in results)), "errors": "0"}


def _plain(text: str) -> str:
    """Answer the text without what XML cannot hold."""
    return _NOT_XML.sub("\ufffd", text)
