"""What the stages after `select` read: the packed images, the split, and tables."""
