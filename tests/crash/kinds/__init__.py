"""Apps of every kind: each with what it is fed and a naive model of what it must make of that."""
