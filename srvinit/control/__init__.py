"""srvinitctl's commands, one module each; `srvinit.ctl` imports the one that is asked for."""
