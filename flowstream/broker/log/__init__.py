"""One partition's log: segments, indexes, producer state, recovery. Pure: reads through the Storage
door, writes are values.

It must not know requests, groups, transactions' coordinators or metadata.
"""
