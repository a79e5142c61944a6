"""Microseconds of CPU of a piece of code: calibrated loops, samples interleaved over all pieces, median and MAD."""

import gc
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

SAMPLE_SECONDS = 0.02
_MOST_LOOPS = 1_000_000

Piece = Callable[[int], None]
"""Does the work that many times; what it needs was prepared before."""


def over(function: Callable[..., object], arguments: Sequence[tuple[object, ...]]) -> Piece:
    """A piece that calls `function` with one of `arguments` after the other."""
    size = len(arguments)

    def run(times: int) -> None:
        whole, rest = divmod(times, size)
        for _ in range(whole):
            for each in arguments:
                function(*each)
        for each in arguments[:rest]:
            function(*each)

    return run


def onward(function: Callable[..., object], arguments: Iterable[tuple[object, ...]]) -> Piece:
    """A piece that never asks for the same again; the arguments must last for all samples."""
    left = iter(arguments)

    def run(times: int) -> None:
        for _ in range(times):
            function(*next(left))

    return run


def calibrate(piece: Piece, seconds: float = SAMPLE_SECONDS) -> int:
    """How many times make a sample of about `seconds`; a warm-up by the way."""
    times = 1
    while times < _MOST_LOOPS:
        took = _time(piece, times)
        if took >= seconds / 2:
            return max(1, round(times * seconds / took))
        times *= 2
    return times


def sample(pieces: Mapping[str, Piece], rounds: int, seconds: float = SAMPLE_SECONDS) -> dict[str, list[float]]:
    """Microseconds a call of each piece: one sample a round, the pieces in turn, back and forth."""
    loops = {name: calibrate(piece, seconds) for name, piece in pieces.items()}
    nothing = over(_nothing, [()] * 256)
    empty = _time(nothing, 100_000) / 100_000
    samples: dict[str, list[float]] = {name: [] for name in pieces}
    gc.collect()
    gc.freeze()  # what was built is not looked at again; the collector stays on, as in the server
    for turn in range(rounds):
        for name in pieces if turn % 2 == 0 else reversed(list(pieces)):
            took = _time(pieces[name], loops[name]) / loops[name]
            samples[name].append((took - empty) * 1e6)
    gc.unfreeze()
    return samples


def _time(piece: Piece, times: int) -> float:
    # CPU time: the pieces wait for nothing, and what else runs on the machine is not theirs.
    clock = time.process_time
    begin = clock()
    piece(times)
    return clock() - begin


def _nothing() -> None:
    """What a call costs."""
