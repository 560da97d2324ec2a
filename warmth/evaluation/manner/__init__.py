"""How an answer sounds: SocioT, and ratings by a judge."""
