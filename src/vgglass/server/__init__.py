"""HTTP server: a prediction API with bounded queues and limits, and the page that shows every layer. Extra: [serve].

A request passes process (uvicorn, signals) -> middleware (metrics, log, size limits) -> access (Host, Origin, token) ->
app -> routes (parse and respond) -> admission (queue, decode, batch, predict).
"""
