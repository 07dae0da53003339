"""`engine_probe doctor`: what works on this machine, what does not, and what to do about it."""

from engine_probe.commands.doctor.checks import command as command
