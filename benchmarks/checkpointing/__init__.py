"""A deep transformer's training step in less memory: time against peak bytes."""
