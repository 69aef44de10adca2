"""A load generator, a player of captured traffic, and the demo: beamlines that are not there."""
