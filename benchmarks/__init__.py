"""What Bridge costs compared with others that do similar work: ``scripts/benchmark``."""
