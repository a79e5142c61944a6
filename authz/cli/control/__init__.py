"""Commands that give orders to a running server, over its control plane."""
