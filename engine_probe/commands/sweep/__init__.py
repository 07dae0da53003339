"""`engine_probe sweep`: measure a grid of points on a real engine."""

from engine_probe.commands.sweep.cli import command as command
