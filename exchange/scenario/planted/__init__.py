"""Planted cash-out: one file a typology, each with a plain variant and adversarial ones."""
