"""How well it works, in numbers: a day, a destination and an event name at a time, nobody's own."""
