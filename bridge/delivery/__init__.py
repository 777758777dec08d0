"""From outbox to destination: claim, batch, send, settle; and what is counted."""
