"""What every stage stands on: errors, parameters, files, progress, how a stage ends."""
