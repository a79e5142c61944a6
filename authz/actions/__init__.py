"""From the body of a request to the actions that it asks for."""
