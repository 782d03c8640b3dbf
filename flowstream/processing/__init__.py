"""The stream processor: apps, agents, tables and the worker that runs them exactly once."""
