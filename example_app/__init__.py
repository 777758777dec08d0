"""Fern & Clay: a small shop that shows how Bridge is used."""
