"""What stands in for CUDA graphs where there is no GPU."""

from contextlib import nullcontext


class StandIn:
    """Stands in for `device.Graphs`."""

    def __init__(self):
        self.captures = self.replays = 0

    def warming_up(self):
        return nullcontext()

    def capture(self, function):
        self.captures += 1

        def run():
            self.replays += 1
            function()

        return run
