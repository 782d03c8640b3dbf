"""What a worker does beside its membership: topics planned, made and purged."""
