"""What the control plane has to do with the data plane of its process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from authz.composition import Composition
from authz.control.feed import Feed
from authz.control.records import Records
from authz.decision.snapshot import Snapshot
from authz.model import Outcome
from authz.stores.holder import Reloader, SnapshotHolder

if TYPE_CHECKING:
    from authz.shared_state import SharedState


@dataclass(frozen=True, slots=True)
class DataPlaneParts:
    """Those parts."""

    composition: Composition
    holder: SnapshotHolder[Snapshot]
    reloader: Reloader[Snapshot]
    trail: Records
    decisions: Feed[Outcome]
    """Tells of every decision of this process."""
    shared: "SharedState"
    refresh_keys: Callable[[], None] = lambda: None
    """Has all keys read again, soon."""
