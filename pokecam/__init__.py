"""PokeCAM: fine-tune a network on pictures and show, in numbers, what it looks at."""
