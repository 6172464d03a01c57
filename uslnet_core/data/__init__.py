"""Images that training sees, masks that only scoring sees, and where both come from."""
