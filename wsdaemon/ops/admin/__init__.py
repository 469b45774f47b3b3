"""The operator's pages: health, metrics, status, and publishing from outside. `site` answers requests, out of one table of routes.

    contract    requests, answers and problems
    routes      the table's rows: a route, its parameters, its answers
    site        the check of the token, and the choice of the page that answers
    health      /livez, /readyz, /status
    exposition  /metrics
    connections /api/connections
    console     the console at /, and /api/closes
    rooms       /api/rooms and /api/publish
    tickets     /api/tickets
    openapi     the description of all that, made from the same table

No page knows HTTP's bytes: the edge reads requests and writes answers.
"""
