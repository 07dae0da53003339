"""Makes `.venv` with engine_probe, torch and the vLLM that fits this machine. Standard library only.

    python3 tools/environment.py [--this-python]

Exit 0: `.venv` is complete. Exit 2 or 3, with one sentence: what is wrong and what to do about it, and no half-made
`.venv` left behind. Everything pip and uv said is in `.venv.log`. ENGINE_PROBE_FLAVOUR=cpu or cuda overrides what is
detected; with --this-python a `.venv` of another Python version is refused.
"""

import sys

# Any Python can parse this file, even 2.7, so that an old one is told that it is too old.
if not (3, 11) <= sys.version_info[:2] < (3, 14):
    sys.stderr.write(
        "set-up: %s is Python %d.%d, but engine_probe needs 3.11, 3.12 or 3.13: install one and name it, "
        "as in `make PYTHON=python3.12 test`\n" % (sys.executable, sys.version_info[0], sys.version_info[1])
    )
    sys.exit(3)

if __name__ == "__main__":
    from bootstrap.main import main

    sys.exit(main())
