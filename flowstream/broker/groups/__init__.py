"""Consumer groups: membership, rebalances and committed offsets.

It must not know logs, transactions' coordinators or metadata: what those know comes in as
arguments.
"""
