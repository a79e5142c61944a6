"""Whatever a file holds, the tools for authors answer, or say what is wrong with it; never a traceback.

`make fuzz` runs this far longer.
"""

import pathlib
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from authz.decision.bind import BindSettings
from authz.decision.vocabulary import vocabulary
from authz.errors import PolicyError
from authz.policy.formatting import format_model, format_policy
from authz.policy.functions import registry
from authz.policy.importing.casbin_csv import import_casbin
from authz.policy.importing.document import DocumentError
from authz.policy.importing.istio import IstioSettings, import_istio
from authz.policy.importing.istio_policy import Workload
from authz.policy.limits import PolicyLimits
from authz.policy.lint.check import Ground, lint

ROOT = pathlib.Path(__file__).parents[2]
MODELS = [path.read_text() for path in sorted((ROOT / "tests/corpus/casbin").glob("*.conf"))]
MODELS.append((ROOT / "policies/model.conf").read_text())
POLICIES = [path.read_text() for path in sorted((ROOT / "tests/corpus/casbin").glob("*.csv"))]
POLICIES.append((ROOT / "policies/policy.csv").read_text())
GROUND = Ground(
    functions=registry(lambda: 0.0, {}), vocabulary=vocabulary(("sub", "obj", "act", "env"), {}, BindSettings())
)
ISTIO = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: foo}
spec:
  action: ALLOW
  selector: {matchLabels: {app: web}}
  rules:
  - from:
    - source: {principals: ["td/ns/a/sa/b", "*/x"], notNamespaces: [c], ipBlocks: [10.0.0.0/8]}
    to:
    - operation: {paths: ["/a*", "*.html"], methods: [GET], hosts: ["a.com:80"], ports: ["80"]}
    when:
    - {key: connection.sni, values: ["*"], notValues: [x]}
"""

damages = st.lists(
    st.tuples(
        st.integers(0, 2000),
        st.integers(0, 6),
        st.one_of(
            st.text(max_size=4), st.sampled_from(["(", ")", "'", '"', ",", "\\", "&&", "\n", "r.", "p.", "*", "#"])
        ),
    ),
    max_size=6,
)


def damaged(text: str, found) -> str:
    for at, cut, put in found:
        place = at % (len(text) + 1)
        text = text[:place] + put + text[place + cut :]
    return text


@given(st.sampled_from(MODELS), st.sampled_from(POLICIES), damages, damages)
def test_the_linter_answers_for_any_files(model, policy, in_model, in_policy):
    model, policy = damaged(model, in_model), damaged(policy, in_policy)
    for finding in lint(("m", model), [("p", policy)], GROUND):
        lines = {"m": model, "p": policy}[finding.file].split("\n")
        assert 0 <= finding.line <= len(lines)
        assert 0 <= finding.column <= len(lines[finding.line - 1]) + 1
        assert not finding.column or finding.end >= finding.column


@given(st.sampled_from(MODELS), st.sampled_from(POLICIES), damages)
def test_the_formatter_answers_for_any_files(model, policy, found):
    for text, lay_out in (
        (damaged(model, found), lambda text: format_model(text, "m", PolicyLimits())),
        (damaged(policy, found), lambda text: format_policy(text, "p", PolicyLimits(), {"p": {1, 2, 3}})),
    ):
        try:
            once = lay_out(text)
        except PolicyError:
            continue
        assert lay_out(once) == once


@given(damages)
def test_the_imports_answer_for_any_files(found):
    for settings in (IstioSettings(), IstioSettings(workload=Workload("foo", {"app": "web"}))):
        with suppress(DocumentError):
            import_istio(damaged(ISTIO, found), settings)
    for policy in POLICIES[:3]:
        import_casbin(damaged(policy, found), {"p": {1}}, {})


@given(st.text(max_size=200))
def test_the_imports_answer_for_any_text(text):
    import_casbin(text, {"p": {1}}, {})
    with suppress(DocumentError):
        import_istio(text, IstioSettings())
