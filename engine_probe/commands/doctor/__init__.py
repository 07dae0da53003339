"""`engine_probe doctor`: checks of this machine, and what to do about problems."""

from engine_probe.commands.doctor.checks import command as command
