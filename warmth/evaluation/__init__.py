"""Third room: questions under conditions, answers, grades and warmth scores."""
