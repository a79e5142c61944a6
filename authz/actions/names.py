"""What the decoders that come with the server are called in routes; `builtin.py` makes them."""

from typing import Final

BUILT_IN_NAMES: Final = frozenset({"a2a", "anthropic", "graphql", "grpc", "mcp", "openai", "rest"})
