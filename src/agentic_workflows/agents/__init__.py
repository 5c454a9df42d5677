"""Who makes the plan: a chat model, a script, a plan file."""
