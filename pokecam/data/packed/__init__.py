"""What stages after `select` read: packed images, the split, tables."""
