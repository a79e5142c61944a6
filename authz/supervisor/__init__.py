"""Several worker processes as one server, when `server.workers` asks for it."""
