"""`engine_probe predict`: what a recorded run would have done under other settings of the scheduler."""

from engine_probe.commands.sweep.predict.cli import command as command
