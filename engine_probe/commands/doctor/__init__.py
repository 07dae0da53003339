"""`engine_probe doctor`: checks of this machine, and what to do about problems."""

from engine_probe.commands.doctor.machine_checks import command as command
