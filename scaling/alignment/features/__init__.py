"""From a model and stimuli to what metrics compare: representations, maps, gradients; in bounded memory."""
