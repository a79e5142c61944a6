"""What can be set about the audit trail."""

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec

from authz.audit.redact import name_is_secret


class AuditSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the record of every call goes, and what happens when it cannot be kept.

    A record that was accepted is written within about `flush_seconds`; a process that is killed loses what it had not
    yet written. After a fault of the disk a record may stand there twice (same `decision_id`), or once whole after a
    line that was cut short.
    """

    destination: str = "stdout"
    """`stdout`, or the absolute path of a file to append to (made with mode 0640; renaming it rotates)."""
    on_failure: Literal["deny", "allow-and-count"] = "deny"
    """What a call gets whose record cannot be kept: `deny`, or its own decision while the loss is counted."""
    queue_records: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 20_000
    """Most records that wait to be written; one more cannot be kept. Each holds a few kB at most."""
    batch_records: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 256
    """Most records written by one system call."""
    flush_seconds: Annotated[float, msgspec.Meta(gt=0, le=10)] = 0.05
    """Longest time that a record waits in memory before it is written."""
    retry_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 1.0
    """Time between two attempts to write while the destination does not accept records."""
    shutdown_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 5.0
    """Longest time that stopping waits for the last records to be written."""
    fsync: Literal["never", "batch"] = "never"
    """`batch`: have the disk confirm every batch, so that records survive a crash of the machine."""
    max_text_chars: Annotated[int, msgspec.Meta(ge=64, le=8192)] = 1024
    """Longest text in a record (a path, a purpose, a detail); what is longer is cut and marked."""
    rule_text: bool = True
    """Whether the text of the rule that decided is recorded beside its file and line."""
    headers: Annotated[tuple[str, ...], msgspec.Meta(max_length=32)] = ()
    """Request headers whose values are recorded, masked; no other value is. Names of credentials are not accepted."""
    query_values: Annotated[tuple[str, ...], msgspec.Meta(max_length=32)] = ()
    """Query parameters whose values are recorded, masked; of all others only the name is."""

    args: Annotated[tuple[str, ...], msgspec.Meta(max_length=32)] = ()
    """Arguments of actions read from bodies whose plain values are recorded, masked; no other value is, nor what is
    inside of an object or array. Names of credentials are not accepted."""

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, message) for each setting that contradicts another or a rule that cannot be switched off."""
        if self.destination != "stdout" and not self.destination.startswith("/"):
            yield "destination", 'must be "stdout" or an absolute path'
        if "\0" in self.destination:
            yield "destination", "must not hold a NUL character"
        if self.batch_records > self.queue_records:
            yield "batch_records", "must not be more than queue_records"
        for name in self.headers:
            if name_is_secret(name):
                yield "headers", f'"{name}" carries credentials and is never recorded'
            elif name != name.lower():
                yield "headers", f'"{name}" must be in lower case'
        for setting in ("query_values", "args"):
            for name in getattr(self, setting):
                if name_is_secret(name):
                    yield setting, f'"{name}" carries credentials and is never recorded'
