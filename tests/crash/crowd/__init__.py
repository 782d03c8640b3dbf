"""Plain clients beside the app of the kill campaign: compaction, retention, deletion and groups."""
