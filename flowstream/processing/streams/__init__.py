"""Streams as agents use them: operators with state and without, windows, joins, branches."""
