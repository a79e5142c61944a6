"""Places where a store can be, as for the conformance suite."""

from stores import emptied_url, place, store

__all__ = ["emptied_url", "place", "store"]
