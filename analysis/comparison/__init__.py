"""Models compared pair by pair on the same stimuli and units."""
