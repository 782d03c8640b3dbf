"""The broker's shell: sockets, turns, syncs, the data directory. It decides nothing about Kafka."""
