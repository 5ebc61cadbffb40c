"""What every service stands on: app, server, bus, jobs, child processes, settings, logs."""
