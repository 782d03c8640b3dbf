"""Where tables live: a store per table and partition, its changelog, and how it is restored.

Only `rocksdb` does I/O. Nothing here knows a cluster, an agent or an event.
"""
