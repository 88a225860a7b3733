"""Class activation maps: the methods that compute them, and their display as heatmaps."""
