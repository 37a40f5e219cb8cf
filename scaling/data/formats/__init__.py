"""How data sets lie on disk, one reader a format."""
