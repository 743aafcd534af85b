"""Convert a language model to MLX, prove it is still that model, measure it, write its card and publish it."""

__version__ = "0.2.0"
