"""Make `.venv` with engine_probe, torch and the vLLM that fits this machine. Standard library only.

    python3 tools/environment.py [--dev] [--this-python]

Installs what a sweep needs, with --dev also what the tests, linters and notebooks need, and keeps what uv and pip print
in `.venv.log`. With --this-python a `.venv` of another Python version is refused. ENGINE_PROBE_FLAVOUR=cpu or cuda
overrides what is detected; ENGINE_PROBE_INSTALLER=pip does without uv. Exit 0: `.venv` is complete. Exit 2 or 3 with
one sentence: what is wrong and what to do about it; no half-made `.venv` is left behind.
"""

import sys

# Any Python can parse this file, even 2.7, so that an old one is told that it is too old.
if not (3, 11) <= sys.version_info[:2] < (3, 15):
    sys.stderr.write(
        "set-up: %s is Python %d.%d, but engine_probe needs 3.11, 3.12, 3.13 or 3.14: install one and name it, "
        "as in `make PYTHON=python3.12 test`\n" % (sys.executable, sys.version_info[0], sys.version_info[1])
    )
    sys.exit(3)

if __name__ == "__main__":
    from bootstrap.main import main

    sys.exit(main())
