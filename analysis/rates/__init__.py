"""Which learning rate a model of N parameters and D samples seen wants, how sure that is, and what it matters."""
