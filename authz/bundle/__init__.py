"""Signed policy bundles: one file with a model, its rules and what goes with them, that names who vouches for it."""
