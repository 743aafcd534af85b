"""Signatures: of a published model, as other people's tools verify them, and of the evidence by who measured it."""
