"""Third room: questions under conditions, answers, grades and warmth scores."""

import os

# Set before torch loads its threads. Generation is thousands of short parallel pieces; threads that
# wait for each other by spinning make it 3 to 5 times slower as soon as anything else runs on the
# machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
