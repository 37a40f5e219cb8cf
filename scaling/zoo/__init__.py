"""Models that were trained elsewhere: which there are, what is known of them, and their scores."""
