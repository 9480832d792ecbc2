"""The network over HTTP: a prediction API that holds, and a place for the glass page. An extra: vgglass[serve].

A request's way: process (uvicorn, signals) -> middleware (counted, logged, bounded) -> access (Host, Origin, token) ->
app -> routes (what was asked) -> admission (queue, decoding, batch, answer).
"""
