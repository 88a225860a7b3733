"""`python -m pokecam NAME`: one module or folder for each command."""
