"""What is asked: questions of tasks, under conditions, by designs."""
