"""The version of this distribution: one place, read by packaging, the CLI and the metrics."""

VERSION = "0.1.0"
