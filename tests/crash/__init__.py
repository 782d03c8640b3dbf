"""Real processes, real signals, and the stream checker."""
