"""How a plan is run: the dataflow, and the one place where an action is executed."""
