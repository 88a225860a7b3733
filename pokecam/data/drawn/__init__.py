"""The drawn Pokédex: species as SVG with named parts, scenes from a seed, and their images."""
