"""What a run is: its state, its plan, its events, its routing and the graph built of them."""

if __name__ != "agentic_workflows.graph":
    raise ImportError(f"Import agentic_workflows.graph, not {__name__}: two names for one file are two types.")
