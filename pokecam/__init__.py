"""PokeCAM: fine-tune a network on images and show, in numbers, what it looks at."""
