"""A2A, the protocol between agents, in its three bindings."""
