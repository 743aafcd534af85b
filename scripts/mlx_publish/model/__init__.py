"""Readers of a model in Hugging Face layout, over a folder, a Hub repo or a fake."""
