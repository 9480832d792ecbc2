"""The /glass routes: an image's forward pass layer by layer, and the arithmetic of each number.

An image is uploaded once by POST and then referred to by the digest of its bytes. All other routes are GETs without
side effects.
"""

import json
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from vgglass import workflows
from vgglass.errors import ImageError
from vgglass.server import samples
from vgglass.server.admission import Row, Service
from vgglass.server.decoding import DecodedUpload
from vgglass.server.documentation import GLASS_ERRORS, IMAGE
from vgglass.server.refusals import RefusedError, json_response, plain
from vgglass.server.routes import glass_json, known, step_json
from vgglass.server.sessions import ForwardPass, ModelSession, Sessions

if TYPE_CHECKING:
    from vgglass.glass import Subject
    from vgglass.glass.ablation import Effect
    from vgglass.glass.ablation import Stage as Ablated
    from vgglass.glass.attribution import Stage

Digest = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="What POST /glass/images answered as 'id'.")]
Layer = Annotated[str, Path(max_length=16, description="A layer's name, as conv3_2.")]
Channel = Annotated[int, Query(ge=0, le=1 << 20)]
Place = Annotated[int, Query(ge=0, le=1 << 16)]
Class = Annotated[int | None, Query(ge=0, le=1 << 20, description="The class to explain; the predicted one without.")]
QUALITY = 90  # JPEG quality of the picture on the page
PLACES = 8  # occlusion positions per side: VGG-16 runs 49 times, in some six seconds on two cores


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/glass", responses=GLASS_ERRORS, default_response_class=Response)
    _add_model(routes, service)
    _add_images(routes, service)
    known.add(routes, service)
    for add in (
        _add_layers,
        _add_steps,
        _add_attribution,
        _add_importance,
        _add_preference,
        _add_parent,
        _add_ablation,
        _add_playground,
    ):
        add(routes, service.subjects)
    return routes


def _add_model(routes: APIRouter, service: Service) -> None:
    subjects = service.subjects

    @routes.get("/model", summary="The model that serves, layer by layer")
    async def model(request: Request) -> Response:
        predictor = service.models.current
        name, has_card = service.models.name, workflows.has_card(service.models.path)
        about = {"name": name, "card": has_card, "settings": predictor.settings, "about": predictor.about}
        taught = ["teach"] if service.lessons else []
        if subjects.missing:
            record = predictor.record
            left = {"glass": False, "views": ["explore", *taught], "missing": subjects.missing, "digest": record.digest}
            return json_response(about | left)
        session = subjects.session
        record = session.file.record
        parent = session.parent.file.record if session.parent else None
        ablated = await subjects.run(request, lambda: glass_json.network(record, _palettes(), parent))
        if service.lessons is None:  # which needs no torch as long as only Teach is open
            await subjects.run(request, session.prepare)  # torch takes a second or two: now, not on the first image
        views = ["explore", "course", *(["watch"] if service.training.available else []), *taught]
        shown = {"glass": True, "views": views, "samples": samples.names(record.classes)}
        return json_response(about | ablated | shown)

    @routes.get("/samples/{name}", summary="A picture to begin with")
    async def sample(request: Request, name: Annotated[str, Path(max_length=20)]) -> Response:
        if name not in samples.names(()):
            raise RefusedError(404, "no image", f"sample {name!r}", "is none", f"one of {', '.join(samples.names(()))}")
        return Response(await subjects.run(request, lambda: samples.read(name)), media_type="application/octet-stream")


def _add_images(routes: APIRouter, service: Service) -> None:
    subjects = service.subjects

    @routes.post("/images", summary="Put an image before the network", openapi_extra=IMAGE)
    async def put(request: Request) -> Response:
        """Answers what /predict answers, and an 'id' by which the other routes know the image."""
        body = await service.body(request)
        session = subjects.session
        try:
            row, whole = await service.answer_with_picture(request, session.predictor, body)
        except ImageError as error:
            raise RefusedError(422, "bad image", error.value, error.rule, error.remedy) from None
        digest = await subjects.run(request, lambda: session.keep(body, whole))
        return json_response(_picture_json(session, digest, whole) | _prediction_json(session, row))

    @routes.get("/images/{digest}/picture", summary="The image as it was decoded")
    async def picture(request: Request, digest: Digest) -> Response:
        session = subjects.session
        return Response(await subjects.run(request, lambda: _jpeg(session, digest)), media_type="image/jpeg")


def _add_layers(routes: APIRouter, subjects: Sessions) -> None:
    """Add the routes of a cached image's layers and feature maps."""

    @routes.get("/images/{digest}/layers", summary="Every layer in short")
    async def layers(request: Request, digest: Digest) -> Response:
        return json_response(await subjects.run_on_walk(request, digest, glass_json.strip))

    @routes.get("/images/{digest}/walk", summary="Every layer in short, as JSON lines: lists of those just computed")
    async def walk(request: Request, digest: Digest) -> Response:
        session = subjects.session
        views = await subjects.run(request, lambda: session.begin(digest).as_computed())
        return _lines(subjects.iterate(request, glass_json.summaries(views), slow=False))

    @routes.get("/images/{digest}/limit", summary="The end of a colour scale that all layers share")
    async def limit(request: Request, digest: Digest) -> Response:
        return json_response({"limit": await subjects.run_on_walk(request, digest, glass_json.limit)})

    @routes.get("/images/{digest}/layers/{layer}", summary="One layer, channel by channel")
    async def layer(request: Request, digest: Digest, layer: Layer) -> Response:
        return json_response(
            await subjects.run_on_walk(request, digest, lambda walk: glass_json.layer(walk.view(layer)))
        )

    @routes.get("/images/{digest}/maps/{layer}", summary="A layer's maps as float32, little-endian (C, H, W)")
    async def maps(request: Request, digest: Digest, layer: Layer, channel: Channel | None = None) -> Response:
        data = await subjects.run_on_walk(request, digest, lambda walk: glass_json.floats(walk.view(layer), channel))
        return Response(data, media_type="application/octet-stream")


def _add_steps(routes: APIRouter, subjects: Sessions) -> None:
    """Add the routes of single numbers: their arithmetic and receptive fields."""

    @routes.get("/images/{digest}/steps/{layer}", summary="One number's arithmetic, term by term")
    async def step(
        request: Request, digest: Digest, layer: Layer, channel: Channel, row: Place = 0, column: Place = 0
    ) -> Response:
        return json_response(
            await subjects.run_on_walk(
                request, digest, lambda walk: step_json.arithmetic(walk, layer, channel, (row, column))
            )
        )

    @routes.get("/images/{digest}/softmax", summary="Logits, exponentials and probabilities at a temperature")
    async def softmax(
        request: Request, digest: Digest,
        temperature: Annotated[float, Query(gt=0, le=1000)] = 1.0, channel: Channel = 0,
    ) -> Response:  # fmt: skip
        return json_response(
            await subjects.run_on_walk(request, digest, lambda walk: step_json.softmax(walk, temperature, channel))
        )

    @routes.get("/images/{digest}/fields/{layer}", summary="Where a position's gradient falls")
    async def field(request: Request, digest: Digest, layer: Layer, row: Place = 0, column: Place = 0) -> Response:
        from vgglass.glass import effective_field

        found = await subjects.run_slow(request, digest, lambda subject: effective_field(subject, layer, (row, column)))
        return json_response(glass_json.field(found))


def _add_attribution(routes: APIRouter, subjects: Sessions) -> None:
    """Add the routes of attribution maps and class scores."""

    @routes.get("/images/{digest}/attributions/{method}", summary="What in the image speaks for a class")
    async def attribution(
        request: Request, digest: Digest, method: Annotated[str, Path(max_length=32)], target: Class = None,
        layer: Annotated[str | None, Query(max_length=16, description="Of Grad-CAM.")] = None,
    ) -> Response:  # fmt: skip
        from vgglass.glass import attribute

        def attributed(subject: "Subject") -> dict[str, Any]:
            found = attribute(subject, method, target, layer, places=PLACES)
            return glass_json.attribution(found, subject.record.classes)

        return json_response(await subjects.run_slow(request, digest, attributed))

    @routes.get("/images/{digest}/attributions/{method}/stages", summary="The same as JSON lines, coarse at first")
    async def stages(
        request: Request, digest: Digest, method: Annotated[str, Path(max_length=32)], target: Class = None,
        layer: Annotated[str | None, Query(max_length=16, description="Of Grad-CAM.")] = None,
    ) -> Response:  # fmt: skip
        from vgglass.glass.attribution import stages

        def begun(subject: "Subject") -> "Iterator[Stage]":
            return stages(subject, method, target, layer, places=PLACES)

        found = await subjects.run_slow(request, digest, begun)
        classes = subjects.session.file.record.classes
        return _lines(subjects.iterate(request, (glass_json.stage(each, classes) for each in found)))

    @routes.get("/images/{digest}/class-map", summary="What each place adds to a logit, exactly (pooled head)")
    async def places(
        request: Request, digest: Digest, target: Class = None,
        against: Annotated[int | None, Query(ge=0, le=1 << 20, description="And not this class.")] = None,
    ) -> Response:  # fmt: skip
        from vgglass.glass import class_map

        def mapped(subject: "Subject") -> dict[str, Any]:
            return glass_json.class_map(class_map(subject, target, against), subject.record)

        return json_response(await subjects.run_slow(request, digest, mapped))

    @routes.get("/images/{digest}/scores", summary="The classifier slid over the whole image")
    async def scores(request: Request, digest: Digest, target: Class = None) -> Response:
        from vgglass.glass import both_ways, score_map

        def scored(subject: "Subject") -> dict[str, Any]:
            return glass_json.scores(score_map(subject, target), both_ways(subject), subject.record.classes)

        return json_response(await subjects.run_slow(request, digest, scored))


def _add_importance(routes: APIRouter, subjects: Sessions) -> None:
    @routes.get("/images/{digest}/importance", summary="Each channel's share of its layer's importance for a class")
    async def importance(request: Request, digest: Digest, target: Class = None) -> Response:
        return json_response(await subjects.run_slow(request, digest, lambda one: glass_json.importance(one, target)))


def _add_preference(routes: APIRouter, subjects: Sessions) -> None:
    @routes.get("/images/{digest}/preferences/{layer}", summary="What a channel looks for, as JSON lines")
    async def preference(request: Request, digest: Digest, layer: Layer, channel: Channel) -> Response:
        """Each line says how far the search is; the last one has the strongest patch of each sample, and an image made
        to excite the channel. The image named matters not."""
        session = subjects.session
        found = await subjects.run_slow(request, digest, lambda _: session.preference(layer, channel))
        return _lines(subjects.iterate(request, (glass_json.preference(each) for each in found)))


def _add_parent(routes: APIRouter, subjects: Sessions) -> None:
    """Add the routes of the model that the current one was shrunk from; its layers have its own names and numbers."""

    @routes.get("/images/{digest}/parent/layers/{layer}", summary="One layer of the parent, channel by channel")
    async def layer(request: Request, digest: Digest, layer: Layer) -> Response:
        def read(walk: ForwardPass) -> dict[str, Any]:
            return glass_json.layer(walk.view(layer))

        return json_response(await subjects.run_on_walk(request, digest, read, parent=True))

    @routes.get("/images/{digest}/parent/maps/{layer}", summary="The parent's maps, as float32 (C, H, W)")
    async def maps(request: Request, digest: Digest, layer: Layer, channel: Channel | None = None) -> Response:
        def read(walk: ForwardPass) -> bytes:
            return glass_json.floats(walk.view(layer), channel)

        data = await subjects.run_on_walk(request, digest, read, parent=True)
        return Response(data, media_type="application/octet-stream")

    @routes.get("/images/{digest}/parent/importance", summary="The same as importance, in the parent")
    async def importance(request: Request, digest: Digest, target: Class = None) -> Response:
        def shares(subject: "Subject") -> dict[str, Any]:
            return glass_json.importance(subject, target)

        return json_response(await subjects.run_slow(request, digest, shares, parent=True))

    @routes.get("/images/{digest}/parent/removed/{layer}", summary="What the parent answers without what was removed")
    async def removed(request: Request, digest: Digest, layer: Layer, target: Class = None) -> Response:
        """`layer`: a layer of the parent, whose removed channels are set to zero; and then those of all layers."""
        from vgglass.lineage import kin

        child = subjects.session.file.record

        def moved(subject: "Subject") -> dict[str, Any]:
            return glass_json.removed(subject, kin(child, subject.record), layer, target)

        return json_response(await subjects.run_slow(request, digest, moved, parent=True))


def _add_ablation(routes: APIRouter, subjects: Sessions) -> None:
    """Add the routes of channel ablation."""

    @routes.get("/images/{digest}/effects/{layer}", summary="What silencing each channel does, as JSON lines")
    async def effects(request: Request, digest: Digest, layer: Layer) -> Response:
        from vgglass.glass.ablation import effects, require_before_prob

        def batches_of(walk: ForwardPass) -> "Iterator[list[Effect]]":
            require_before_prob(walk.subject, layer)
            return effects(walk.apart, layer, walk.steps[layer].output)

        batches = await subjects.run_on_walk(request, digest, batches_of)

        return _lines(subjects.iterate(request, ([vars(effect) for effect in batch] for batch in batches)))

    @routes.get("/images/{digest}/without", summary="The answer with channels silenced")
    async def without(
        request: Request, digest: Digest,
        channels: Annotated[list[str], Query(max_length=64, description="As conv3_2:17 or conv3_2:1,5; repeatable.")],
    ) -> Response:  # fmt: skip
        from vgglass.glass import ablate
        from vgglass.glass.ablation import parse

        silenced = parse(channels)

        def ablated(walk: ForwardPass) -> dict[str, Any]:
            return glass_json.ablation(ablate(walk.subject, silenced), walk.subject.record)

        return json_response(await subjects.run_on_walk(request, digest, ablated))

    @routes.get("/images/{digest}/without/stages", summary="The same as JSON lines, layer by layer")
    async def stages(
        request: Request, digest: Digest,
        channels: Annotated[list[str], Query(max_length=64, description="As in `without`.")],
    ) -> Response:  # fmt: skip
        from vgglass.glass.ablation import parse, stages

        silenced, record = parse(channels), subjects.session.file.record

        def begun(walk: ForwardPass) -> "Iterator[Ablated]":
            return stages(walk.subject, silenced, walk.steps["prob"].input[0].numpy())

        found = await subjects.run_on_walk(request, digest, begun)
        return _lines(subjects.iterate(request, (glass_json.ablated(each, record) for each in found), slow=False))


def _add_playground(routes: APIRouter, subjects: Sessions) -> None:
    @routes.get("/playground", summary="A window that slides over a few numbers")
    async def playground(
        request: Request, operation: Annotated[str, Query(pattern="^(max|min|avg|conv)$")] = "max",
        size: Annotated[int, Query(ge=1, le=24)] = 12, kernel: Annotated[int, Query(ge=1, le=24)] = 6,
        stride: Annotated[int, Query(ge=1, le=24)] = 2, padding: Annotated[int, Query(ge=0, le=12)] = 0,
        dilation: Annotated[int, Query(ge=1, le=12)] = 1, row: Place = 0, column: Place = 0,
        image: Annotated[str | None, Query(pattern="^[0-9a-f]{32}$", description="Whose pixels to take.")] = None,
    ) -> Response:  # fmt: skip
        from vgglass.glass import Geometry
        from vgglass.glass.operations import grey, numbers, play

        session = subjects.session

        def played() -> dict[str, Any]:
            values = numbers(size) if image is None else grey(session.picture(image).whole.square, size)
            found = play(values, operation, Geometry((kernel, kernel), stride, padding, dilation))
            return glass_json.playground(found, (row, column))

        return json_response(await subjects.run(request, played))


def _lines(found: AsyncIterator[Any]) -> Response:
    """Return a stream of JSON lines, one for each item as it comes."""

    async def lines() -> AsyncIterator[str]:
        async for item in found:
            yield json.dumps(plain(item)) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


def _picture_json(session: ModelSession, digest: str, whole: DecodedUpload) -> dict[str, Any]:
    """Return a picture's id, its size, and where it lies in the network's square."""
    height, width = whole.original.shape[:2]
    return {"id": digest, "width": width, "height": height, "placement": session.placement(whole)}


def _prediction_json(session: ModelSession, row: Row) -> dict[str, Any]:
    record = session.file.record
    answer: dict[str, Any] = {"digest": record.digest, "top": glass_json.ranked(record, row.probabilities)}
    return answer | session.predictor.settings | row.answer.doubts(record)


def _jpeg(session: ModelSession, digest: str) -> bytes:
    import io

    from vgglass.glass.sheets import photograph

    file = io.BytesIO()
    photograph(session.picture(digest).whole.original).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _palettes() -> dict[str, bytes]:
    from vgglass.glass.sheets import palette

    return {"positive": palette(signed=False), "signed": palette(signed=True)}
