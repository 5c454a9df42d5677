"""The nodes of the graph, one a file."""

if __name__ != "agentic_workflows.nodes":
    raise ImportError(f"Import agentic_workflows.nodes, not {__name__}: two names for one file are two types.")
