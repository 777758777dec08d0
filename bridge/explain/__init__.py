"""One event as it would go out, and remarks on it."""
