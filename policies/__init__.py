"""What may happen: Cedar policies, the decision they give and the engine that asks them."""

if __name__ != "agentic_workflows.policies":
    raise ImportError(f"Import agentic_workflows.policies, not {__name__}: two names for one file are two types.")
