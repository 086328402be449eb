"""Several worker processes behind one listener: a supervisor starts them and carries what they tell."""
