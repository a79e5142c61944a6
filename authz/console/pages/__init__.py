"""The pages: each asks the control plane as the human who looks, and shows what it answers."""
