"""The Kafka protocol: bytes to values and back. Knows neither the broker nor the worker, and
performs no input or output.
"""
