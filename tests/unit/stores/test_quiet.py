"""A long load beside decisions: the collector keeps still meanwhile, and old snapshots are freed in small steps."""

import gc
import itertools
import sys
import weakref

import msgspec
import pytest

from authz.decision.key import basis_of
from authz.policy.compile import CompiledEngine
from authz.stores.quiet import Pacer, beside_decisions, settle
from authz.stores.retire import retire

MODEL = """[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act
"""


def engine(rules: int = 2_000) -> CompiledEngine:
    text = "\n".join([f"p, role{n % 50}, /a{n}/:id, read" for n in range(rules)] + ["g, alice, role1"])
    return CompiledEngine.load(MODEL, "model.conf", [("policy.csv", text)])


def test_the_collector_and_the_switch_interval_are_as_before_afterwards():
    before = gc.get_threshold(), sys.getswitchinterval()
    with beside_decisions():
        assert gc.get_threshold()[2] > 1_000_000
        assert sys.getswitchinterval() < 0.001
        with beside_decisions():
            pass
        assert gc.get_threshold()[2] > 1_000_000
    assert (gc.get_threshold(), sys.getswitchinterval()) == before


def test_they_are_as_before_after_a_failure_too():
    before = gc.get_threshold(), sys.getswitchinterval()
    with pytest.raises(ValueError, match="broken"), beside_decisions():
        raise ValueError("broken")
    assert (gc.get_threshold(), sys.getswitchinterval()) == before


def test_what_was_loaded_is_out_of_the_collectors_sight():
    gc.freeze()  # all that other tests made, which would take seconds to look through
    before = gc.get_freeze_count()
    with beside_decisions():
        loaded = engine()
    assert gc.get_freeze_count() - before > 2_000
    assert loaded.rule_count == 2_000


def test_settling_sets_aside_what_is_there():
    gc.freeze()
    kept = [[number] for number in range(1_000)]
    assert {id(each) for each in gc.get_objects()}.issuperset(map(id, kept))
    settle()
    assert {id(each) for each in gc.get_objects()}.isdisjoint(map(id, kept))


class Time:
    """A clock that only work and naps move on; a nap takes `late` seconds longer than asked for."""

    def __init__(self, late: float = 0.0) -> None:
        self.now, self.late, self.napped = 100.0, late, 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds + self.late
        self.napped += seconds + self.late


@pytest.mark.parametrize("late", [0.00005, 0.001, 0.0015])
def test_a_load_runs_about_half_of_the_time_however_late_naps_end(late: float):
    before = sys.getswitchinterval()
    time = Time(late)
    pacer = Pacer(lambda: time.now, time.sleep)
    worked = 0.0
    for _ in range(10_000):
        pacer.step_aside()
        time.now += 0.00005
        worked += 0.00005
    sys.setswitchinterval(before)
    assert 0.4 < worked / (worked + time.napped) < 0.65


def test_a_load_asks_for_the_interpreter_patiently_and_gives_it_soon():
    before = sys.getswitchinterval()
    asked: list[float] = []
    pacer = Pacer(lambda: 1.0, lambda _: asked.append(sys.getswitchinterval()))
    with beside_decisions():
        pacer.step_aside()
        assert sys.getswitchinterval() < 0.001
    assert asked == [pytest.approx(0.005)]
    assert sys.getswitchinterval() == before


def test_a_load_is_paused_many_times():
    pauses: list[None] = []
    text = "\n".join(f"p, role{n % 50}, /a{n}/:id, read" for n in range(2_000))
    CompiledEngine.load(MODEL, "m", [("p", text)], pause=lambda: pauses.append(None))
    assert len(pauses) > 200


def test_an_engine_holds_no_reference_cycle_so_that_it_is_freed_while_frozen():
    loaded = engine()
    gc.freeze()
    dead = weakref.ref(loaded)
    del loaded
    assert dead() is None


def test_retiring_frees_everything_in_small_steps():
    class Part:
        pass

    parts = [Part() for _ in range(1_000)]
    dead = [weakref.ref(part) for part in parts]
    whole: list[object] = [{"parts": tuple(parts), "more": [[part] for part in parts]}]
    del parts
    alive: list[int] = []
    retire(whole, lambda: alive.append(sum(ref() is not None for ref in dead)))
    assert whole == []
    assert alive[0] == 1_000
    assert alive[-1] == 0
    assert max(before - after for before, after in itertools.pairwise(alive)) <= 64


class Leaf(msgspec.Struct, gc=False):
    """The collector does not know it, nor a tuple of such."""

    of: object


@pytest.mark.parametrize("around", [lambda whole: (whole,), lambda whole: [lambda: whole]], ids=["tuple", "closure"])
def test_retiring_frees_leaves_in_small_steps_wherever_they_hang(around):
    tree = object()
    leaves = tuple(Leaf(tree) for _ in range(1_000))
    whole: list[object] = [around(leaves)]
    del leaves
    gc.collect()
    alive: list[int] = []
    retire(whole, lambda: alive.append(sys.getrefcount(tree)))
    assert alive[0] - alive[-1] == 1_000
    assert max(before - after for before, after in itertools.pairwise(alive)) <= 64


def test_retiring_an_engine_frees_it_in_small_steps():
    loaded = engine()
    last: list[object] = [loaded, basis_of([loaded], {})]
    del loaded
    gc.collect()
    alive: list[int] = []
    retire(last, lambda: alive.append(len(gc.get_objects())))
    assert max(alive) - alive[-1] > 10_000
    assert max(before - after for before, after in itertools.pairwise(alive)) <= 150


def test_retiring_an_engine_frees_it():
    loaded = engine()
    dead = weakref.ref(loaded.rules[0].variant)
    gone = weakref.ref(loaded)
    last: list[object] = [loaded]
    del loaded
    retire(last, lambda: None)
    assert gone() is None
    assert dead() is None


def test_what_others_hold_survives_retiring():
    shared = {"still": ["here"]}
    retire([[shared]], lambda: None)
    assert shared == {"still": ["here"]}
