"""The worker's only door to a cluster, and the only importer of aiokafka.

Requests are our own wire messages over aiokafka's connections; group membership and fetching are
aiokafka's consumer. Nothing here knows tables, agents or the integrated broker.
"""
