"""aiops: names the cause of a 503 on an LLM inference node, with the evidence."""

__version__ = "0.1.0"
