"""Which request needs which permission, and what is answered without it (X2).

`table` declares it for every API and version; the other files hold the rules by what they protect.
A rule reads a request and never decides anything else: what it keeps back from the handler it
answers itself, in Kafka's words. An API or version without a rule is refused (X7).
"""
