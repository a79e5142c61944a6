"""GraphQL: which top-level fields an operation asks for."""
