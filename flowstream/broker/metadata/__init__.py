"""The cluster's metadata: an image folded from `__cluster_metadata-0`, and its decisions."""
