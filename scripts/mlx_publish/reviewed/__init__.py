"""What reviewed evidence is made of and compared with."""
