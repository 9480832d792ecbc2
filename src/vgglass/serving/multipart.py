"""multipart/form-data from a body that is whole in memory: split by its boundary, in time that grows with its size."""

from dataclasses import dataclass

from python_multipart.multipart import parse_options_header

from vgglass.serving.refusals import RefusedError

HEADERS = 8 << 10  # bytes of one part's headers
REMEDY = "send multipart/form-data as curl -F image=@photo.jpg does"


@dataclass(frozen=True)
class Part:
    """A file of a form.

    name  as the client calls it; to be shown as text alone
    """

    name: str
    data: bytes


def parts(content_type: str, body: bytes, most: int) -> list[Part]:
    """The parts of a form that are files, in order; fields beside them are passed over. Raises RefusedError.

    most  parts of either kind
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not 0 < len(boundary) <= 200:
        raise _refused("Content-Type of the form", "names no boundary")
    sections = (b"\r\n" + body).split(b"\r\n--" + boundary, most + 2)
    if len(sections) > most + 2 or (len(sections) == most + 2 and not sections[-1].startswith(b"--")):
        rule = f"more than {most} parts"
        raise RefusedError(413, "too many parts", "the form", rule, f"send at most {most} images in a request")
    if len(sections) < 2 or not sections[-1].startswith(b"--"):
        raise _refused("the form", "ends before its last boundary")
    found = [_part(section) for section in sections[1:-1]]
    return [part for part in found if part is not None]


def _part(section: bytes) -> Part | None:
    """None for a field that is no file."""
    head, separator, data = section.partition(b"\r\n\r\n")
    if not separator or len(head) > HEADERS:
        raise _refused("a part of the form", f"has no headers that end within {HEADERS} bytes")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            kind, options = parse_options_header(value.strip())
            if kind != b"form-data":
                break
            return Part(options[b"filename"].decode(errors="replace"), data) if b"filename" in options else None
    raise _refused("a part of the form", "has no Content-Disposition: form-data")


def _refused(value: str, rule: str) -> RefusedError:
    return RefusedError(400, "bad form", value, rule, REMEDY)
