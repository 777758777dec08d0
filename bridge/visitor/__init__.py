"""Who asks, what may be done, and what the answer sets."""
