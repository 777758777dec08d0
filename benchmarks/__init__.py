"""What Bridge costs compared with others that do similar work, in one run: ``scripts/benchmark``."""
