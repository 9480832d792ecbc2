"""Routes: what can be asked over HTTP, a file a kind of question."""
