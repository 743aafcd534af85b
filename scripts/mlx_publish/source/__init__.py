"""What is true of the source, found once a recipe."""
