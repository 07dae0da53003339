"""`engine_probe plan`: what a GPU would hold of a model, without either."""

from engine_probe.commands.sweep.plan.cli import command as command
