"""One reading of a path through envoy/bootstrap.yaml. The PDP is a stub; Envoy is real."""

import pytest
from harness.stub_pdp import allow
from harness.world import stubbed

pytestmark = pytest.mark.envoy

RESOLVED = {
    "/v1//accounts": "/v1/accounts",
    "///v1/accounts": "/v1/accounts",
    "/v1/./accounts": "/v1/accounts",
    "/x/../v1/accounts": "/v1/accounts",
    "/x/%2e%2e/v1/accounts": "/v1/accounts",
    "/x/%2E./v1/accounts": "/v1/accounts",
    "/x\\..\\v1\\accounts": "/v1/accounts",
    "/x/..;/v1/accounts": "/v1/accounts",
    "/%61ccounts": "/accounts",
}
LEFT_TO_THE_PDP = ["/v1/accounts;x=1", "/v1/accounts%252f1", "/v1/accounts/", "/V1/accounts", "/v1/%c0%ae", "/v1/a%3bb"]
REFUSED = ["/v1/accounts%2f1", "/v1/..%2faccounts", "/v1/accounts%5c1", "/v1/%00", "/../../x%2F"]


@pytest.mark.parametrize(("sent", "read"), RESOLVED.items())
def test_a_path_with_two_spellings_is_brought_into_one_for_pdp_and_upstream(world, stub, sent, read):
    stub.answer = allow
    assert world.caller("planner").get(sent).json()["target"] == read
    assert stub.last.attributes.request.http.path == read


@pytest.mark.parametrize("sent", LEFT_TO_THE_PDP)
def test_pdp_and_upstream_see_the_same_spelling_of_what_envoy_leaves_alone(world, stub, sent):
    stub.answer = allow
    assert world.caller("planner").get(sent).json()["target"] == sent
    assert stub.last.attributes.request.http.path == sent


@pytest.mark.parametrize("sent", REFUSED)
def test_an_escaped_slash_or_nul_is_refused_without_asking(world, stub, sent):
    assert world.caller("planner").get(sent).status == 400
    assert stub.requests == []


def test_a_route_open_to_all_does_not_open_others_through_dot_segments(pki_directory, upstream, mark):
    with stubbed(pki_directory, upstream, change=_open_route) as (world, stub):
        assert world.caller("planner").get(f"/open/{mark}").status == 200
        assert stub.requests == []
        for path in (f"/open/../v1/{mark}-2", f"/open/%2e%2e/v1/{mark}-2", f"/open/..;/v1/{mark}-2"):
            assert world.caller("planner").get(path).status == 403
        assert world.caller("planner").get(f"/open/..%2fv1/{mark}-2").status == 400
        assert [http_of_one.attributes.request.http.path for http_of_one in stub.requests] == [f"/v1/{mark}-2"] * 3
        assert upstream.saw(f"{mark}-2") == []


def _open_route(bootstrap: str) -> str:
    before, anchor, after = bootstrap.partition("              routes:\n")
    assert anchor
    route = """\
              - match: {prefix: "/open"}
                route: {cluster: upstream}
                typed_per_filter_config:
                  envoy.filters.http.ext_authz:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                    disabled: true
"""
    return before + anchor + route + after
