"""What an agent can do: actions, and the built-in ones."""
