"""Budgets on the request path, as a caller meets them: cached or not, with a grant or without (I3, I7)."""

import json

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from grant_kit import ED_KEY, grant
from grants_served import ANYBODY, HOLDER, Served

from authz.decision.pending import Pending
from authz.errors import ConfigError, Reason
from authz.grants.grant import Task
from authz.grants.token import sign_grant
from authz.task_limits import TaskLimits

BUDGET = '[[budgets]]\nname = "calls"\nlimit = 3\nwindow_seconds = 60.0\n'


def served(base, settings=BUDGET, policy=ANYBODY, **kwargs):
    return Served(base, policy, settings, **kwargs)


def signed(**changes):
    return sign_grant(grant(**changes), ED_KEY)


def test_a_budget_is_charged_at_every_call_cached_or_not_and_refused_with_when_to_come_again(tmp_path):
    pdp = served(tmp_path)
    for _ in range(3):
        assert pdp.reason() is Reason.ALLOWED
    assert pdp.cached
    assert pdp.reason() is Reason.BUDGET_EXCEEDED
    denied = CheckResponse.FromString(pdp.ask()).denied_response
    headers = {option.header.key: option.header.value for option in denied.headers}
    assert denied.status.code == 429
    assert 60 <= int(headers["retry-after"]) <= 64
    assert json.loads(denied.body)["reason"] == "budget_exceeded"
    assert pdp.outcomes[-1].decision.detail == "calls"
    assert pdp.reason(who="spiffe://prod.example/other") is Reason.ALLOWED


def test_it_passes_again_once_the_time_is_over_and_what_was_refused_has_cost_nothing(tmp_path):
    pdp = served(tmp_path)
    for _ in range(3):
        assert pdp.reason() is Reason.ALLOWED
    for second in range(1, 60):
        pdp.tick = float(second)
        assert pdp.reason() is Reason.BUDGET_EXCEEDED
    pdp.tick = 63.1
    for _ in range(3):
        assert pdp.reason() is Reason.ALLOWED
    assert pdp.reason() is Reason.BUDGET_EXCEEDED


def test_a_wall_clock_that_is_set_back_or_forth_gives_nothing_back(tmp_path):
    pdp = served(tmp_path)
    for _ in range(3):
        assert pdp.reason() is Reason.ALLOWED
    for moved in (-3_600, 3_600, 0):
        pdp.now += moved
        assert pdp.reason() is Reason.BUDGET_EXCEEDED


def test_a_denied_call_costs_nothing(tmp_path):
    pdp = served(tmp_path, policy=ANYBODY + "p, r.obj.path == '/v1/secret', deny,\n")
    for _ in range(10):
        assert pdp.reason(path="/v1/secret") is Reason.DENIED_BY_RULE
    for _ in range(3):
        assert pdp.reason() is Reason.ALLOWED


def test_an_allow_whose_record_cannot_be_kept_costs_nothing(tmp_path):
    """I9: it becomes a denial after it was charged."""
    pdp = served(tmp_path)
    pdp.keeps = False
    for _ in range(5):
        assert CheckResponse.FromString(pdp.ask()).status.code != 0
    pdp.keeps = True
    for _ in range(3):
        assert pdp.reason() is Reason.ALLOWED
    assert pdp.reason() is Reason.BUDGET_EXCEEDED


def test_tasks_that_are_only_declared_have_accounts_of_their_own_and_cannot_spend_that_of_a_grant(tmp_path):
    pdp = served(tmp_path, BUDGET + 'per = ["task"]\n')
    for _ in range(4):
        pdp.reason(x_task_id="task-1")
    assert pdp.reason(x_task_id="task-1") is Reason.BUDGET_EXCEEDED
    for _ in range(3):
        assert pdp.reason(signed()) is Reason.ALLOWED
    assert pdp.reason(signed()) is Reason.BUDGET_EXCEEDED
    assert pdp.reason(x_task_id="task-1", who="spiffe://prod.example/other") is Reason.ALLOWED


def test_splitting_a_task_over_grants_gives_nothing_more(tmp_path):
    pdp = served(tmp_path, BUDGET + 'per = ["task"]\n')
    tokens = [signed(id=f"{number:022d}") for number in range(3)]
    for token in tokens:
        assert pdp.reason(token) is Reason.ALLOWED
    assert [pdp.reason(token) for token in tokens] == [Reason.BUDGET_EXCEEDED] * 3


def test_whoever_declares_many_tasks_ends_up_with_one_account_for_the_rest(tmp_path):
    pdp = served(tmp_path, BUDGET + 'per = ["task"]\n[tasks]\nmax_declared = 5\n')
    for number in range(5):
        assert pdp.reason(x_task_id=f"t{number}") is Reason.ALLOWED
    found = [pdp.reason(x_task_id=f"t{number}") for number in range(5, 15)]
    assert found == [Reason.ALLOWED] * 3 + [Reason.BUDGET_EXCEEDED] * 7
    assert pdp.reason(x_task_id="t0") is Reason.ALLOWED


def test_distinct_resources_are_counted_once_each(tmp_path):
    pdp = served(tmp_path, BUDGET + 'count = "resources"\n')
    for number in (1, 2, 3, 2, 1, 3):
        assert pdp.reason(path=f"/v1/accounts/{number}") is Reason.ALLOWED
    assert pdp.reason(path="/v1/accounts/4") is Reason.BUDGET_EXCEEDED
    assert pdp.reason(path="/v1/accounts/3") is Reason.ALLOWED


def test_what_is_denied_again_and_again_is_not_even_asked_any_more(tmp_path):
    retries = BUDGET + 'count = "retries"\n'
    pdp = served(tmp_path, retries, policy=ANYBODY + "p, r.obj.path == '/v1/secret', deny,\n")
    found = [pdp.reason(path="/v1/secret") for _ in range(5)]
    assert found == [Reason.DENIED_BY_RULE] * 3 + [Reason.BUDGET_EXCEEDED] * 2
    assert pdp.reason(path="/v1/other") is Reason.ALLOWED
    pdp.tick = 63.1
    assert pdp.reason(path="/v1/secret") is Reason.DENIED_BY_RULE


BREAKER = "[tasks.breaker]\ndenials = 3\nwindow_seconds = 60.0\nsuspend_seconds = 100.0\n"


def test_a_task_that_is_denied_too_often_is_suspended_with_all_its_grants_for_a_time(tmp_path):
    pdp = served(tmp_path, BREAKER)
    assert pdp.reason(signed()) is Reason.ALLOWED
    for _ in range(3):
        assert pdp.reason(signed(), path="/v1/payments") is Reason.GRANT_SCOPE
    assert pdp.reason(signed(id="0" * 21 + "2")) is Reason.TASK_SUSPENDED
    assert pdp.outcomes[-1].decision.retry_after == 101
    assert pdp.reason() is Reason.ALLOWED
    pdp.tick = 100.1
    assert pdp.reason(signed()) is Reason.ALLOWED


def test_denials_that_are_ours_suspend_nobody(tmp_path):
    pdp = served(tmp_path, BREAKER)
    pdp.keeps = False
    for _ in range(5):
        pdp.ask(signed())
    pdp.keeps = True
    assert pdp.reason(signed()) is Reason.ALLOWED


SEEN = """
p, r.sub.trust_domain == 'prod.example', allow,
p, r.obj.path == '/v1/export' && 'restricted' in r.env.task.seen, deny,
"""
CATALOGUE = """
[[resources]]
host = "*"
path = "/v1/accounts/{id}"
type = "account"
sensitivity = "restricted"
[[resources]]
host = "*"
path = "/v1/docs/{id}"
type = "document"
sensitivity = "internal"
"""


@pytest.fixture
def labelled(tmp_path):
    (tmp_path / "catalogue.toml").write_text(CATALOGUE)
    return lambda policy: served(tmp_path, '[catalogue]\nfile = "catalogue.toml"\n', policy)


def test_a_task_that_read_what_is_sensitive_is_barred_from_a_sink_also_where_that_was_cached(labelled):
    """I3: the label is in the key."""
    pdp = labelled(SEEN)
    for _ in range(2):
        assert pdp.reason(path="/v1/export", x_task_id="a") is Reason.ALLOWED
    assert pdp.cached
    assert pdp.reason(path="/v1/docs/1", x_task_id="a") is Reason.ALLOWED
    assert pdp.reason(path="/v1/export", x_task_id="a") is Reason.ALLOWED
    assert pdp.reason(path="/v1/accounts/1", x_task_id="a") is Reason.ALLOWED
    assert pdp.reason(path="/v1/export", x_task_id="a") is Reason.DENIED_BY_RULE
    assert pdp.outcomes[-1].asked.task["max_sensitivity"] == "restricted"
    assert pdp.reason(path="/v1/export", x_task_id="b") is Reason.ALLOWED


def test_rules_see_calls_denials_and_the_first_use_of_a_tool(labelled):
    pdp = labelled("p, r.env.task.first_use || r.env.task.calls < 3 && r.env.task.denials < 9, allow,\n")
    assert [pdp.reason() for _ in range(4)] == [Reason.ALLOWED] * 3 + [Reason.NO_MATCHING_RULE]
    assert pdp.reason(method="PUT") is Reason.ALLOWED
    task = pdp.outcomes[-1].asked.task
    assert (task["calls"], task["denials"], task["first_use"]) == (3, 1, True)


def test_a_rule_that_reads_what_is_not_remembered_does_not_load(tmp_path):
    with pytest.raises(ConfigError, match=r"a rule reads r\.env\.task\.seen.*tasks\.track = true"):
        served(tmp_path, settings="", policy=SEEN, grants=False)


def test_the_limits_of_a_task_wait_for_the_store(tmp_path):
    pdp = served(tmp_path, "")
    token = signed(task=Task("task-1", limits=TaskLimits(calls=5)))
    assert isinstance(pdp.ask(token), Pending)
    assert pdp.outcomes == []


def test_a_grant_with_limits_is_refused_where_they_cannot_be_held(tmp_path):
    pdp = served(tmp_path, "", accounts=False)
    token = signed(task=Task("task-1", limits=TaskLimits(calls=5)))
    assert pdp.reason(token) is Reason.STATE_UNAVAILABLE
    assert pdp.reason(signed()) is Reason.ALLOWED
    assert pdp.reason(who=HOLDER) is Reason.ALLOWED


def test_a_task_is_not_forgotten_while_a_grant_of_it_may_live(tmp_path):
    """Else who has spent all waits with the long grant until what the short ones spent is forgotten."""
    short = "max_lifetime_seconds = 3600\n[tasks]\nforget_seconds = 3599.0\n"
    with pytest.raises(ConfigError, match=r"tasks\.forget_seconds.*grants\.max_lifetime_seconds \(3600\)"):
        served(tmp_path, short)
    served(tmp_path, short.replace("3599", "3600"))
