"""What runs in the child process of inference. Imports torch; the service itself does not."""
