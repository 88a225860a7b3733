"""Images, from any source to the packed pixels that networks read."""
