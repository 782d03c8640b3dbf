"""The broker's shell: sockets, turns, syncs and the data directory. It decides nothing about Kafka."""
