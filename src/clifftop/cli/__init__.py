"""The command line: one module a command, every import of weight inside the command that needs it."""
