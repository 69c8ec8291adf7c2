"""The routes, by what they are about. Each module has one function that makes them over the services."""
