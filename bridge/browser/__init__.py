"""The script: how it is served, what it reads, what it reports."""
