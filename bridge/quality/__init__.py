"""How well it works, in Meta's words beside our own figures, and what would make it better."""
