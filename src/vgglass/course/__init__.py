"""What the course's chapters use: a picture of one's own, a small trained network, pictures that move, exercises.

course.photo()                      the reader's picture, else a sample, as uint8 (H, W, 3)
course.model()                      a model file trained on the embedded digits, at the first call
course.show({"title": array})       pictures side by side; course.moving(frames, "what it shows") one that moves
course.check("image.numbers", 42)   whether an exercise is solved, or what is off
"""

from vgglass.course.exercises import EXERCISES, Verdict, check
from vgglass.course.pictures import Moving, moving, show
from vgglass.course.subjects import digit, model, photo

__all__ = ["EXERCISES", "Moving", "Verdict", "check", "digit", "model", "moving", "photo", "show"]
