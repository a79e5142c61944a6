"""Who is calling: from what the proxy verified to one `Subject` (I5)."""
