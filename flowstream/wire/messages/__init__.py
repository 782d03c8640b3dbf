"""Declared messages: one file per API, request and response, with the names and versions of Kafka.
No behaviour.
"""
