"""What a study file may say, one kind of thing a file; `scaling.study` puts them together."""
