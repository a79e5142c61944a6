"""What can go wrong with the shared state: either the store is in trouble, or it is well and the answer is no."""

from authz.errors import AuthzError


class StoreError(AuthzError):
    """Root of every error of the store. No message holds a password or a stored value that is secret (I10)."""


class StoreTrouble(StoreError):
    """The store could not do it, whatever was asked: deny what depends on it (I2). `transient`: trying again may help.

    After a transient one the outcome may be unknown. Every operation may be repeated with the same ids: what was done
    already is not done twice.
    """

    transient = False


class UnavailableError(StoreTrouble):
    """The database is gone, restarting, locked by another process, or too slow."""

    transient = True


class OverloadedError(StoreTrouble):
    """More operations wait than may; nothing was done."""

    transient = True


class FullError(StoreTrouble):
    """There is no room for more; nothing was done."""


class ReadOnlyError(StoreTrouble):
    """The database, or the file system under it, does not accept changes; nothing was done."""


class CorruptError(StoreTrouble):
    """What the file holds is not a sound database."""


class SchemaError(StoreTrouble):
    """The database has a schema that this program cannot work with."""


class StoreRefusal(StoreError):
    """The store is well and what was asked is not possible; nothing was done."""


class NotFoundError(StoreRefusal):
    """There is nothing with this id."""


class ConflictError(StoreRefusal):
    """There is something else with this id already."""


class EndedError(StoreRefusal):
    """The task or grant is over: completed, revoked or expired."""


class TooLargeError(StoreRefusal):
    """What was to be stored is larger than a setting allows."""


class UnfitError(StoreRefusal):
    """What was to be stored holds characters that the database cannot keep."""


class IdempotencyError(StoreRefusal):
    """The idempotency key was used for another request before."""


class ChangesLostError(StoreError):
    """The changes asked for cannot be told any more: read the whole view again, then follow on from its number."""
