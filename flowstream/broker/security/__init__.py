"""Who may do what: SASL mechanisms, principals, access rules.

Pure: bytes and values in, verdicts out. It must not know requests, connections or files. Which
request needs which permission is declared in `broker/authorization`.
"""
