"""Random messages and random bytes against the decoder and a node. See python -m tests.fuzz -h."""
