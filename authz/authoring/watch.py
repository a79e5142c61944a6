"""Does something again whenever files change."""

from collections.abc import Callable, Iterable
from pathlib import Path

from authz.errors import AuthzError
from authz.stores.fingerprint import Fingerprint, Watch

_RESTS = 2
"""So many looks in a row must see the same, so that files that are still being written are left alone."""


def again_and_again(
    run: Callable[[], None],
    paths: Callable[[], Iterable[Path]],
    wait: Callable[[], None],
    clock: Callable[[], float],
    tell: Callable[[str], None],
) -> None:
    """Call `run` now and after every change of `paths`, for ever; `wait` returns after a moment.

    What goes wrong is told, and what was watched goes on being watched.

    Raises:
        AuthzError: it is not known what to watch from the start.
    """
    watch = Watch()
    watched = list(paths())

    def look() -> Fingerprint:
        return watch.look(watched, clock())

    while True:
        # Looked at before the run, so that a change during it counts.
        before = look()
        try:
            run()
        except AuthzError as error:
            tell(f"authz: {error}")
        _await_change(look, before, wait)
        try:
            watched = list(paths())
        except AuthzError as error:
            tell(f"authz: {error}")


def _await_change(look: Callable[[], Fingerprint], before: Fingerprint, wait: Callable[[], None]) -> None:
    """Return when something is other than before, and has come to rest."""
    last, same = before, 1
    while last == before or same < _RESTS:
        wait()
        seen = look()
        same = same + 1 if seen == last else 1
        last = seen
