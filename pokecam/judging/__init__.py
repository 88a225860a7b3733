"""Are the predictions and the maps any good? Every measure of both."""
