"""What every stage needs: errors, parameters, output files, progress, and how a stage ends."""
