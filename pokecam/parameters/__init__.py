"""All parameters of the pipeline together."""
