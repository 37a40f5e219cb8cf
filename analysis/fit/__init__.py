"""Laws and their fits: rows of a table in, a fitted law with its uncertainty and a status out."""
