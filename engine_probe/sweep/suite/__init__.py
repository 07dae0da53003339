"""A suite: the sweeps of one document, measured one after the other without anybody watching.

`suite_file.py` reads what is asked, `plan.py` makes sweeps and folders of it, `run.py` measures them. `suite.json` is
written before and after every sweep; `--resume` reads it.
"""
