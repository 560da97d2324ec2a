"""First room: where conversations come from and how they become the arms' training sets."""
