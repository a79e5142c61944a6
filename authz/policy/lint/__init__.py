"""Finds what is wrong with a model and its policies, or likely to be; `check.lint` is the door."""
