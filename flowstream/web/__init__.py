"""What a worker serves over HTTP: its health, its metrics, its tables, and the app's own pages."""
