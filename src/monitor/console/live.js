// The stream of the link's states. It comes back by itself, and says since when it is silent.

// The bridge tells every second.
const SILENCE_MAX_MS = 5000;
const RETRY_MS = 2000;

export function connect(shown, freshness) {
  let source = null;
  let heardMs = null;
  let retry = null;

  function open() {
    retry = null;
    source?.close();
    source = new EventSource("api/events");
    const mine = source;
    const openedMs = Date.now();
    mine.addEventListener("link", (event) => {
      heardMs = Date.now();
      shown(JSON.parse(event.data));
      freshness({ heardMs, isStale: false });
    });
    // A browser gives up where the answer is none, as when a proxy says that the bridge is away.
    mine.addEventListener("error", () => {
      if (mine === source && mine.readyState === EventSource.CLOSED) later();
    });
    mine.openedMs = openedMs;
  }

  function later() {
    retry ??= setTimeout(open, RETRY_MS);
  }

  setInterval(() => {
    const silentMs = Date.now() - Math.max(heardMs ?? 0, source.openedMs);
    const isStale = heardMs === null || Date.now() - heardMs > SILENCE_MAX_MS || source.readyState !== EventSource.OPEN;
    freshness({ heardMs, isStale });
    // A connection that nobody cut and nothing comes over.
    if (silentMs > 2 * SILENCE_MAX_MS) later();
  }, 500);

  open();
}
