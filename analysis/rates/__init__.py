"""Which learning rate a model of N parameters and D samples seen wants: parabolas, the law of rates, what it matters."""
