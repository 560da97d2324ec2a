"""What answers: arms, the engines that generate, and the log-probabilities of given replies."""
