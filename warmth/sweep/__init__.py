"""What a sweep will do and did; the one room that may look into all others."""
