"""Who watches a worker: signals, sensors, meters, traces and the watchdog."""
