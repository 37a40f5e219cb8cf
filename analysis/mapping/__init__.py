"""The number of stimuli that a mapping is fitted on, beside compute: laws of both, and which of the two to buy next."""
