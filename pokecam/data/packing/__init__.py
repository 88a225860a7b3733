"""From raw.zip to packed pixels: choose classes, decode, find duplicates, fit, write."""
