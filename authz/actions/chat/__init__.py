"""Requests to language models, in the two styles that most providers and gateways speak."""
