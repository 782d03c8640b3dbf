"""Events and topics: keys, values, headers, times, replies and dead letters."""
