"""What runs in the child process of training. Imports torch; the service itself does not."""
