"""The server under a prefix, as a proxy may place it: https://photos.example/vgg/."""

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send


def rooted(app: ASGIApp, prefix: str) -> ASGIApp:
    """`app` with the paths that it has by itself, whether or not the proxy took the prefix off.

    prefix  as '/vgg'; what the ASGI server itself knows as its root_path (Ray Serve's route_prefix) comes before it
    """
    own = f"/{prefix.strip('/')}".rstrip("/")

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        root = scope.get("root_path") or own
        if root and scope["type"] == "http":
            path: str = scope["path"]
            if path == root and scope["method"] in ("GET", "HEAD"):  # the page's addresses are relative to its folder
                await RedirectResponse(f"{root.rpartition('/')[2]}/")(scope, receive, send)
                return
            # In place: the layers above tell of the same scope.
            scope.update(root_path="", path=path.removeprefix(root) if path.startswith(f"{root}/") else path)
        await app(scope, receive, send)

    return call
