"""Event time: windows and their aggregates, watermarks, what is due when. Nothing here waits."""
