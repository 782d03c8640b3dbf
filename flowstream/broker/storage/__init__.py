"""The disk behind the broker's Storage door: files, and a twin in memory that forgets what was not
synced.
"""
