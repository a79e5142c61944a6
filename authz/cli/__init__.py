"""The command line."""

import os

# gRPC's core writes lines of its own to stderr, some at a caller's will; ours say what matters, and as JSON. It reads
# this when it is loaded, which the modules below do.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
