"""Honest life: what people and merchants do who plan nothing."""
