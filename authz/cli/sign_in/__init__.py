"""How a human signs in on a terminal, and where their token is kept."""
