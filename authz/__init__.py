"""Envoy external authorization for non-human identities. See docs/architecture.md."""
