"""
A real 503 incident on this machine, from healthy to diagnosed.

Real processes, started here and ended here: a gateway that balances round-robin and writes an access log, three small
model servers with a real KV and VRAM budget, real cards where they idle and simulated ones elsewhere, a load generator, a
chat. The daemon watches them as it would watch anybody's, and gets no hint of the fault. `scenario` is the stage manager; every actor is a module of its
own that can be started by hand.
"""
