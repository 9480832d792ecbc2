"""One image's answer."""

from dataclasses import dataclass
from typing import Any

from vgglass.data.listing import shown


@dataclass(frozen=True)
class Prediction:
    """One image's answer: (class name, probability), likeliest first; or the reason why there is none.

    path    as the image was named, so that it can be opened; `shown` is for print
    unsure  whether the likeliest class is below the model's reject threshold; None where it has none
    """

    path: str
    top: tuple[tuple[str, float], ...] = ()
    error: str = ""
    unsure: bool | None = None

    def as_json(self) -> dict[str, Any]:
        top = [{"class": name, "probability": share} for name, share in self.top]
        unsure = {} if self.unsure is None else {"unsure": self.unsure}
        return {"path": self.shown} | ({"error": self.error} if self.error else {"top": top, **unsure})

    @property
    def shown(self) -> str:
        return shown(self.path)

    @property
    def label(self) -> str:
        return self.top[0][0] if self.top else ""

    @property
    def probability(self) -> float:
        return self.top[0][1] if self.top else 0.0
