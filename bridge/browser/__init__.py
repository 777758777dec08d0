"""The script: as it is served, what it reads, what it reports."""
