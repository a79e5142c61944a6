"""Importing Istio policies: whom they are for, what is left out and where, what cannot get in."""

import pytest

from authz.model import Effect
from authz.policy.compile import CompiledEngine
from authz.policy.importing.document import DocumentError
from authz.policy.importing.istio import IstioSettings, import_istio
from authz.policy.importing.istio_policy import Workload
from authz.policy.importing.writing import MODEL

HEAD = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: foo}\n"
ALL = "spec: {rules: [{}]}\n"


def rows(text: str, **settings) -> list[str]:
    result = import_istio(text, IstioSettings(**settings))
    CompiledEngine.load(MODEL, "m", [("p", "\n".join(result.lines))])
    return [line for line in result.lines if line and line[0] != "#"]


def left(text: str, **settings):
    result = import_istio(text, IstioSettings(**settings))
    return [(each.line, each.column, each.why) for each in (*result.left_out, *result.missing_denials)]


def test_a_rule_without_conditions_is_for_all_and_a_policy_without_rules_for_none():
    assert rows(HEAD + ALL) == ["p, istio/foo/p/1, True, *, *, allow,"]
    assert rows(HEAD + "spec: {}\n") == []
    assert rows(HEAD + "spec:\n") == []
    assert rows(HEAD + "spec: {action: DENY, rules: [{}]}\n", allow_rest=True) == [
        "p, istio/foo/p/1, True, *, *, deny,",
        "p, istio/allow-rest, True, *, *, allow,",
    ]


def test_without_an_allow_policy_the_rest_is_denied_and_told_unless_asked_for():
    text = HEAD + "spec: {action: DENY, rules: [{}]}\n"
    ((line, _, why),) = left(text)
    assert (line, "allows what nothing denies" in why) == (1, True)
    assert left(text, allow_rest=True) == []
    assert left(HEAD + "spec: {}\n") == []  # an ALLOW policy that matches nothing: nothing is allowed


def test_what_cannot_be_translated_is_left_out_with_its_place():
    text = (
        HEAD
        + """spec:
  rules:
  - from:
    - source:
        principals: ["td/ns/a/sa/b"]
    - source:
        requestPrincipals: ["*"]
    to:
    - operation:
        paths: ["/ok", "/x/{*}"]
    - operation:
        paths: ["/fine"]
  - when:
    - key: remote.ip
      values: ["10.0.0.1"]
"""
    )
    assert [(line, column) for line, column, _ in left(text)] == [(10, 28), (13, 24), (17, 12)]
    assert [row.split(", ")[-3] for row in rows(text)] == ["/fine"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("paths", "/a//b"),
        ("paths", "/a/../b"),
        ("paths", "/a%2Fb"),
        ("paths", "a"),
        ("paths", "*a*"),
        ("paths", "/a;b"),
        ("paths", "/a{**}"),
        ("ports", "http"),
        ("ports", "70000"),
        ("ports", "080"),
        ("hosts", "a.com:80*"),
        ("hosts", "*8080"),
        ("hosts", "a b"),
        ("hosts", "[::1]:80"),
        ("methods", "*E*"),
        ("unheardOf", "x"),
    ],
)
def test_a_value_that_is_not_understood_is_never_guessed_at(field, value):
    text = HEAD + f"spec: {{rules: [{{to: [{{operation: {{{field}: ['{value}']}}}}]}}]}}\n"
    assert rows(text) == []
    assert len(left(text)) == 1


@pytest.mark.parametrize(
    "rule",
    [
        "{from: []}",
        "{to: [{}]}",
        "{from: [{source: {}}]}",
        "{from: [{source: {principals: []}}]}",
        "{from: [{source: {principals: [true]}}]}",
        "{from: [{source: {principals: ['']}}]}",
        "{from: [{source: {principals: 'td/x'}}]}",
        "{from: [{source: {ipBlocks: ['home']}}]}",
        "{when: [{key: source.ip}]}",
        "{when: [{values: [a]}]}",
        "{when: [{key: 'request.headers[x]', values: [a]}]}",
        "{unless: [a]}",
        "null",
    ],
)
def test_a_rule_that_is_not_of_istios_form_allows_nothing_and_its_denial_is_missed(rule):
    assert rows(HEAD + f"spec: {{rules: [{rule}]}}\n") == []
    result = import_istio(HEAD + f"spec: {{action: DENY, rules: [{rule}]}}\n", IstioSettings())
    assert len(result.missing_denials) == 1


@pytest.mark.parametrize(
    "spec", ["{action: CUSTOM, provider: {name: x}, rules: [{}]}", "{surprise: 1}", "[]", "{selector: {x: 1}}"]
)
def test_a_policy_that_may_deny_is_missed_and_never_lets_the_rest_in(spec):
    result = import_istio(HEAD + f"spec: {spec}\n", IstioSettings(allow_rest=True))
    assert len(result.missing_denials) == 1
    if "CUSTOM" not in spec:
        assert not any("allow" in line for line in result.lines if line[:1] == "p")


def test_dry_runs_audits_and_other_kinds_are_passed_over_and_told():
    dry = HEAD.replace("namespace: foo}", "namespace: foo, annotations: {istio.io/dry-run: 'true'}}") + ALL
    audit = HEAD + "spec: {action: AUDIT, rules: [{}]}\n"
    other = "kind: Service\nmetadata: {name: x}\n"
    result = import_istio("\n---\n".join((dry, audit, other, HEAD + ALL)), IstioSettings())
    assert len(result.notes) == 3
    assert len([line for line in result.lines if line[:1] == "p"]) == 1


def test_a_list_of_policies_is_read():
    item = HEAD.replace("\n", ", ").rstrip(", ")
    assert rows(f"kind: List\nitems: [{{{item}, spec: {{rules: [{{}}]}}}}]\n") == [
        "p, istio/foo/p/1, True, *, *, allow,"
    ]


class TestWorkloads:
    WEB = HEAD + "spec: {selector: {matchLabels: {app: web}}, rules: [{to: [{operation: {paths: [/web]}}]}]}\n"
    API = HEAD + "spec: {selector: {matchLabels: {app: api}}, rules: [{to: [{operation: {paths: [/api]}}]}]}\n"
    EVERY = HEAD.replace("foo", "istio-system") + "spec: {rules: [{to: [{operation: {paths: [/all]}}]}]}\n"
    OTHER = HEAD.replace("foo", "bar") + "spec: {rules: [{to: [{operation: {paths: [/bar]}}]}]}\n"

    def test_policies_for_different_workloads_are_not_thrown_together(self):
        with pytest.raises(DocumentError, match="different workloads"):
            import_istio(f"{self.WEB}---\n{self.API}", IstioSettings())
        assert len(rows(f"{self.WEB}---\n{self.WEB.replace('/web', '/b')}")) == 2

    def test_those_of_one_workload_are_chosen(self):
        text = f"{self.WEB}---\n{self.API}---\n{self.EVERY}---\n{self.OTHER}"
        chosen = rows(text, workload=Workload("foo", {"app": "web", "version": "v1"}))
        assert [row.split(", ")[3] for row in chosen] == ["/web", "/all"]
        chosen = rows(text, workload=Workload("foo", {}), root_namespace="mesh")
        assert chosen == []

    def test_whom_target_references_mean_is_not_known(self):
        text = HEAD + "spec: {targetRefs: [{kind: Gateway, name: g}], rules: [{}]}\n"
        assert len(rows(text)) == 1
        result = import_istio(text, IstioSettings(workload=Workload("foo", {}), allow_rest=True))
        assert len(result.missing_denials) == 1
        assert not any(line[:1] == "p" for line in result.lines)


def test_cluster_local_is_the_meshs_own_trust_domain():
    text = (
        HEAD + "spec: {rules: [{from: [{source: {principals: [cluster.local/ns/a/sa/b, td/x, 'cluster.local/*']}}]}]}\n"
    )
    (row,) = rows(text, trust_domain="demo.internal")
    assert "spiffe://demo.internal/ns/a/sa/b" in row
    assert "spiffe://demo.internal/*" in row
    assert "spiffe://td/x" in row
    assert "cluster.local" not in row
    assert rows(text) == []
    ((_, _, why),) = left(text)
    assert "--trust-domain" in why


@pytest.mark.parametrize(
    "source",
    ["principals: [td/x]", "principals: ['*']", "namespaces: [n]", "namespaces: [other, n]", "namespaces: ['*']"],
)
def test_an_identity_that_only_a_token_proves_is_no_principal_of_istios(source):
    text = f"{HEAD}spec: {{rules: [{{from: [{{source: {{{source}}}}}]}}]}}\n"
    engine = CompiledEngine.load(MODEL, "m", [("p", "\n".join(rows(text)))])
    allow, deny = Effect.ALLOW, Effect.DENY
    for sources, effect in ((("certificate",), allow), (("xfcc", "token"), allow), (("token",), deny)):
        sub = {"id": "spiffe://td/x", "namespace": "n", "sources": sources}
        assert engine.evaluate((sub, {"path": "/"}, {"method": "GET"}, {}), lambda: False).effect is effect


def test_nothing_in_a_policy_can_write_a_rule_of_its_own():
    evil = '"x\\np, evil, True, *, *, allow,"'
    text = (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        f"metadata: {{name: {evil}, namespace: {evil}}}\n"
        f"spec: {{selector: {{matchLabels: {{app: {evil}}}}}, rules: [{{from: [{{source: {{principals: [{evil}]}}}}], "
        f'when: [{{key: connection.sni, values: [{evil}, "\' || True || \'", "a # b", "), *, *, allow, ("]}}]}}]}}\n'
    )
    (row,) = rows(text)
    engine = CompiledEngine.load(MODEL, "m", [("p", row)])
    sub = {"id": "x", "sources": ("certificate",), "namespace": ""}
    for sni in ("", "x", "True"):
        request = (sub, {"path": "/"}, {"method": "GET"}, {"sni": sni})
        assert engine.evaluate(request, lambda: False).effect is Effect.DENY


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: *x\n",
        "a: 1\na: 2\n",
        "[" * 40 + "]" * 40,
        "a: [",
        "a: !!python/object/apply:os.system [x]\n}",
        "\x00",
    ],
)
def test_yaml_that_could_be_read_in_two_ways_or_without_end_is_refused(text):
    with pytest.raises(DocumentError):
        import_istio(text, IstioSettings())


def test_long_lists_become_several_rules_and_too_many_are_refused():
    names = ", ".join(f"td/ns/a/sa/workload-with-a-rather-long-name-{at}" for at in range(200))
    text = HEAD + f"spec: {{rules: [{{from: [{{source: {{principals: [{names}]}}}}]}}]}}\n"
    assert len(rows(text)) == 10
    ((_, _, why),) = left(text, max_rows=5)
    assert "too many rules" in why
    many = HEAD + "spec: {rules: [{to: [{operation: {paths: [/a, /b, /c]}}]}]}\n"
    with pytest.raises(DocumentError, match="more than 2"):
        rows(many, max_rows=2)
