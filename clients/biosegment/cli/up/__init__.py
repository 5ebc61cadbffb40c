"""The whole platform on one machine: real services as supervised child processes."""
