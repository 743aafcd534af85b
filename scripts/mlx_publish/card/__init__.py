"""The card: front matter, text, and what may stand in them."""
