"""Just-in-time grants: signed, short-lived, holder-bound permissions for one task, and what takes them back."""
