"""Brakes that work at machine speed: what may be spent in a time, by whom, and what a task has done so far."""
