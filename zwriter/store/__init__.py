"""A scan's store on a disk: arrays, shards, commits, logs, taking over, finishing."""
