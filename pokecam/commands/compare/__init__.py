"""The command `compare`: experiments beside each other on one page."""
