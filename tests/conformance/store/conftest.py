"""Every test here is asked of SQLite and of PostgreSQL."""

from stores import emptied_url, place, store

__all__ = ["emptied_url", "place", "store"]
