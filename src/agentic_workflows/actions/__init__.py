"""What an agent can do: actions, the built-in ones, and the one place where they are executed."""
