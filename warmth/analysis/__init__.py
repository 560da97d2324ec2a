"""Fourth room: graded rows become estimates, figures and a report."""
