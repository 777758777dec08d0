"""The outbox in Redis or Valkey, for many machines."""
