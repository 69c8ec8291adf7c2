"""`emclick serve`: the annotation tool's server, its storage and its page.

Needs FastAPI and uvicorn; nothing outside this package imports it but the commands that use it.
"""
