"""The outbox in an SQLite file: the embedded default, for the processes of one machine."""
