"""Frees a large structure bit by bit: freed at once, a snapshot of 100,000 rules would stop everything for 0.3 s."""

import gc
from collections.abc import Callable, Iterable, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType, NoneType

from authz.policy.pace import no_pause, pausing

_SHARED = (type, ModuleType, BuiltinFunctionType, MethodType, CodeType)
"""What leads out of the structure, into the rest of the program; little hangs on these alone."""
_SKIPPED = frozenset((type, str, int, float, bool, NoneType))
"""Most of what small things lead to, told apart at once."""
_UNTRACKED = (tuple, dict)
"""The collector does not know those of them that hold only what it does not know either, such as 100,000 rows."""
_PER_STEP = 64
_LOOKED_AT = 512
_SETS, _ALIGNED = 1024, 16


def retire(last: list[object], pause: Callable[[], None]) -> None:
    """Free what only the entries of `last` keep alive, a few objects at a time with a `pause` between.

    `last` is emptied: nobody else may hold on to its entries, or they live on until that one lets go. Call it off the
    event loop. Works for structures without reference cycles.
    """
    held = _inside_out(last, pause)
    last.clear()
    # From the outside in: whatever is freed, all that it leads to is still held, so no step frees more than a few.
    while held:
        del held[-_PER_STEP:]
        pause()


def _inside_out(roots: Iterable[object], pause: Callable[[], None]) -> list[object]:
    """The roots and all that they lead to, each once, behind all that it leads to itself; of small things no leaves."""
    held: list[object] = []
    # In one large set, each growth and the end of it would take a while.
    seen: list[set[int]] = [set() for _ in range(_SETS)]
    path: list[tuple[object, bool, Iterator[object]]] = [(None, True, iter(tuple(roots)))]
    steps = 0
    while path:
        item, many, children = path[-1]
        for child in children:
            if type(child) in _SKIPPED and not many:
                continue
            # The globals of a function are the program's; what it was made around may be of the structure.
            below = child.__closure__ if isinstance(child, FunctionType) else child
            leads_on = gc.is_tracked(below) or type(below) in _UNTRACKED
            if not (leads_on or many) or isinstance(below, _SHARED):
                continue
            number = id(below)
            known = seen[number // _ALIGNED % _SETS]
            if number in known:
                continue
            known.add(number)
            if leads_on:
                lower = gc.get_referents(below)
                many_below = len(lower) > _PER_STEP
                paced = pausing(lower, pause if many_below else no_pause, _LOOKED_AT)
                path.append((below, many_below, paced))
                break
            held.append(below)
        else:
            path.pop()
            held.append(item)
        steps += 1
        if not steps % _PER_STEP:
            pause()
    while seen:
        seen.pop()
        pause()
    return held
