"""Tables as agents use them, and what is kept in one: rows, windows, timers, crontabs."""
