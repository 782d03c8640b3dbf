"""Looking at a data directory from outside: what its files say, and whether they agree. Decides and
reads; it changes nothing.
"""
