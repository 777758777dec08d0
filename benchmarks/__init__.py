"""What Bridge costs beside others that do like work, in one run: ``scripts/benchmark``."""
