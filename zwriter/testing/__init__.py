"""For tests, ours and yours: fixtures to run zwriter against the real thing."""
