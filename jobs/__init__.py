"""What a person launches: the `scaling` command line and the study files."""
