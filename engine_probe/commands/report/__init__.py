"""`engine_probe report`: what a recording or a sweep says, in the terminal and as a page."""

from engine_probe.commands.report.cli import command as command
