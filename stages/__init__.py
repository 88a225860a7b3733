"""The DVC stages, one module each: read parameters and files, call one function, write files."""

from pokecam.running import end_with_dvc

end_with_dvc()
