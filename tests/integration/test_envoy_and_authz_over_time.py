"""Real Envoy and real authz over time: killed, restarted, put under new policies, looked at by the doctor."""

import json
import subprocess
import threading

import grpc
import pytest
from harness.guarded import AUTHZ, ECHO, a_guarded

pytestmark = pytest.mark.envoy

PLANNER = "spiffe://demo.internal/ns/agents/sa/planner"
TCP_REQUEST = b"GET /%s HTTP/1.1\r\nhost: up\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize("over_tcp", [False, True], ids=["unix", "mutual TLS"])
def test_a_killed_pdp_means_no_access_and_a_new_one_means_access_again(pki_directory, upstream, mark, over_tcp):
    with a_guarded(pki_directory, upstream, over_tcp=over_tcp) as made:
        caller = made.caller("planner")
        assert caller.get("/v1/accounts/1").status == 200
        made.pdp.kill()
        assert caller.get(f"/v1/accounts/{mark}").status == 503
        assert caller.h2(f"/v1/accounts/{mark}".encode()).status == 503
        with pytest.raises(grpc.RpcError) as error:
            caller.grpc(ECHO, metadata=[("x-mark", mark)])
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert caller.websocket(f"/test/{mark}", "hi").status == 503
        assert made.tcp_caller("billing").tcp(TCP_REQUEST % mark.encode()) == b""
        made.start()
        assert caller.get("/v1/accounts/2").status == 200
        assert made.tcp_caller("billing").tcp(TCP_REQUEST % b"")
    assert upstream.saw(mark) == []


def test_a_workload_that_is_no_proxy_of_ours_may_not_ask(pki_directory, upstream, mark):
    # Whoever may ask may claim anything about a caller; billing has a good SVID, but is not the edge.
    def as_billing(bootstrap: str) -> str:
        before, anchor, after = bootstrap.partition("UpstreamTlsContext")
        assert anchor
        return before + anchor + after.replace("/edge.", "/billing.")

    with a_guarded(pki_directory, upstream, over_tcp=True, change=as_billing) as made:
        answer = made.caller("planner").get(f"/v1/accounts/{mark}")
        assert answer.status == 403
        assert "server.tls.allowed_callers" in made.record(answer.json()["decision_id"])["detail"]
    assert upstream.saw(mark) == []


def test_a_changed_policy_comes_into_force_under_traffic_with_no_wrong_answer(pki_directory, upstream):
    with a_guarded(pki_directory, upstream, environment={"AUTHZ__RELOAD__POLL_SECONDS": "0.1"}) as made:
        rule = f"p, test-reports, r.sub.id == '{PLANNER}', /v1/reports/*, GET, allow,\n"
        answers: dict[str, list[int]] = {"/v1/accounts/1": [], "/v1/reports/1": [], "/v1/payments": []}
        seen = threading.Event()
        over = threading.Event()

        def ask(path: str) -> None:
            while not over.is_set():
                answers[path].append(made.caller("planner").get(path).status)
                if path == "/v1/reports/1" and answers[path][-1] == 200:
                    seen.set()

        threads = [threading.Thread(target=ask, args=(path,)) for path in answers]
        for thread in threads:
            thread.start()
        try:
            _replace(made.policy, made.policy.read_text() + rule)
            came = seen.wait(20)
            _replace(made.policy, "this is no policy\n")  # refused: what is in force stays
            refused = _until(lambda: "refused" in made.pdp.child.log)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert came
        assert refused
        assert set(answers["/v1/accounts/1"]) == {200}
        assert set(answers["/v1/payments"]) == {403}
        before, after = answers["/v1/reports/1"], answers["/v1/reports/1"]
        turn = after.index(200)
        assert set(before[:turn]) <= {403}
        assert set(after[turn:]) == {200}


def _replace(file, text: str) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(file)


def _until(condition) -> bool:
    """Whether it came to hold within some seconds."""
    waiting = threading.Event()
    for _ in range(1000):
        if condition():
            return True
        waiting.wait(0.02)
    return False


def test_the_doctor_finds_the_shipped_configuration_well(guarded):
    pki, port = guarded.world.pki, guarded.world.envoy.ports["edge"]
    arguments = [
        *(AUTHZ, "doctor", "--json", "--through", f"https://localhost:{port}", "--ca", str(pki / "ca.pem")),
        *("--cert", str(pki / "doctor.pem"), "--key", str(pki / "doctor.key")),
    ]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    findings = json.loads(done.stdout)
    assert [one for one in findings if one["state"] != "ok"] == [findings[-1]]
    assert findings[-1]["check"] == "fail-closed"
    assert done.returncode == 0


def test_a_probe_by_anybody_else_is_a_request_like_any_other(guarded):
    answer = guarded.caller("planner").get("/.well-known/authz-doctor/0123456789abcdef0123456789abcdef/plain")
    assert answer.status == 403
    assert "observed" not in answer.json()
    assert guarded.reason(answer.request_id) == "no_matching_rule"
