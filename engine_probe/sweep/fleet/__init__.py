"""The same sweep on the machines of a Ray cluster. Only `ray_cluster.py` knows Ray.

Each engine group has a thread on this machine, which runs the loop of `execution/runner.py`; only its engine is
elsewhere (`fleet_engine.py` here, `remote_engine.py` there). Rows and `sweep.json` stay on this machine, so searches
and `stop.saturated` work as they do without a fleet. A recording is copied in pieces into a folder with a dot before
its name, and is complete before its row is written; the log is copied at every event.

When a machine is lost, its point is measured again on another one, on three machines at most; `sweep.json` keeps which
and why (`moved`). The lost machine is avoided, because Ray may notice only later. An engine that dies by itself is a
row. Ctrl-C ends all engines at once and fetches what they recorded (`runner.py`). If this process is killed, Ray ends
its workers, and they end their engines.

An engine on CPUs takes a whole machine, because vLLM binds threads to every core. Before the start all machines must
agree in Python, engine_probe (by source) and vLLM. Environment variables of vLLM, NCCL, OpenMP and torch are sent
along, and so are data sets; model folders must be on the machines.
"""
