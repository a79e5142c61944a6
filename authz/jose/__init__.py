"""JSON Web Tokens and keys (JOSE), read strictly: what identities and grants have in common."""
