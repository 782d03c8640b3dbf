"""The worker under the simulator: production's worker and broker node in memory on virtual time,
with a network that misbehaves, kills, zombies and lost disks. Every run is a function of its seed.
"""
