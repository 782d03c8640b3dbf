"""A worker as a member of its app's group: assignment, memberships, commits of epochs."""
