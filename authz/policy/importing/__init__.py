"""Brings rules of other tools into policy files of ours: exactly, or not at all."""
