"""When a study knows enough to stop, and which run tells most: pure functions of frames."""
