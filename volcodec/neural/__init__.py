"""A closed loop whose predictions, and what is expected of their errors, a network makes."""
