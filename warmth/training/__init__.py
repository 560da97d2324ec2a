"""Second room: how an arm's conversations become an adapter."""
