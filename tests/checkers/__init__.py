"""The two history checkers: pure, linear time, and tested against known illegal histories."""
