"""What is true of the source, once a recipe."""
