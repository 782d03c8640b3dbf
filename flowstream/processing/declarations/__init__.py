"""What an app declares: a part of `App` per subject. Nothing here runs agents."""
