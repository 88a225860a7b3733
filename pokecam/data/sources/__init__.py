"""Where raw images come from: drawn, Kaggle, a folder, an archive. All fill data/raw.zip."""
