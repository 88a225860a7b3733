"""Class activation maps: what each method computes (`methods`, `core`) and how a map is shown."""
