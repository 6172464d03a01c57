"""For teachers: exercises made from their solutions, the workshop kit, and the check of a laptop."""

from uslnet_core.workshop.checking import NotYet, checking
from uslnet_core.workshop.exercises import SOLUTIONS, Exercise, blank, exercises, listing, write_exercises

__all__ = ["SOLUTIONS", "Exercise", "NotYet", "blank", "checking", "exercises", "listing", "write_exercises"]
