"""`engine_probe suite`: measure the programme of a whole document."""

from engine_probe.commands.sweep.suite.cli import command as command
