"""Judgements about a model, one module a family; each check is data."""
