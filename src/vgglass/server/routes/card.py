"""The card beside the model file that serves, as a page."""

import asyncio
from html import escape
from typing import Literal

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from vgglass import workflows
from vgglass.errors import DataError
from vgglass.server.documentation import ERRORS
from vgglass.server.model_store import ModelStore
from vgglass.server.refusals import RefusedError

PAGE = (
    '<!doctype html><html lang="{lang}"><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
    '<link rel="stylesheet" href="static/base.css"><link rel="stylesheet" href="static/card.css">'
    '<title>{title}</title><main class="model-card">{body}</main></html>'
)


def router(models: ModelStore) -> APIRouter:
    routes = APIRouter()

    @routes.get("/card", summary="The model's card", response_class=HTMLResponse, responses=ERRORS)
    async def card(lang: Literal["en", "zh"] = "en") -> Response:
        try:
            body = await asyncio.to_thread(workflows.card_page, models.path, lang)
        except DataError as error:
            raise RefusedError(404, "no card", "the model card", error.rule, error.remedy) from None
        if body is None:
            remedy = "vgglass train writes one, or copy card.md and card.zh.md beside the model file"
            raise RefusedError(404, "no card", "the model card", "is not beside the model file", remedy)
        title = escape(models.name)
        return HTMLResponse(PAGE.format(lang="zh-CN" if lang == "zh" else "en", title=title, body=body))

    return routes
