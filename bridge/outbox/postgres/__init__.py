"""The outbox in PostgreSQL, for many machines."""
