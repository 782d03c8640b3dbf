"""Where an app runs: settings, secured connections, its place on this machine, the doors."""
