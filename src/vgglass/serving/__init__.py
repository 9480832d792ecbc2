"""The network over HTTP: a prediction API that holds, and a place for the glass page. An extra: vgglass[serve].

A request's way: server (uvicorn, signals) -> observing (metrics, log) -> access (Host, Origin, token) -> limits (bytes
of the body) -> app (routes) -> predicting or protocol (what was asked) -> service (queue, decode, batch, answer).
"""
