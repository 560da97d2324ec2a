"""What an answer is worth: rules, judges, and the stage that asks them."""
