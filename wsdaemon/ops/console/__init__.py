"""The console: one page for a web browser, which shows the daemon at work and tries its mounts.

    files    the page and its parts, as answers and for listeners
    feed     the WebSocket of the live figures: an app like any other
    figures  the figures of one moment, out of the metrics
    page/    HTML, CSS and JavaScript modules, as browsers get them: no build step, and nothing from elsewhere
"""

LIVE_PATH = "/console/live"
"""Where the pages connect to the feed: the path of its mount."""
