"""How well matching finds planted actors: with the exchange, by each member alone, and on all raw data."""
