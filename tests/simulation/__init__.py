"""The broker node under a seeded simulator: virtual time, a disk and a network that misbehave,
clients that keep a history.
"""
