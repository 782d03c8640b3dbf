"""Web analytics: sessions, pages, statuses and bots of an access log, each window told once."""
