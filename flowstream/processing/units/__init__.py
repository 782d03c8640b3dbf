"""The pure core of exactly-once: units, tasks, epochs, and which offsets may commit."""
