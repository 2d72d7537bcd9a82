// Charts: drawn when they come into view, drawn again when the theme changes, linked through `picked`.

const STORE = "picked_store"; // where a Vega-Lite selection named `picked` keeps its tuples
const MANY = 1500; // rows beyond which a canvas is quicker than one element a mark

const PAIR = /^\u00a7theme:(\d+)$/;

// A fresh copy of a spec for the theme of now: each pair of colours gives way to one of them.
function themed(part) {
  if (Array.isArray(part)) return part.map(themed);
  if (part && typeof part === "object") return Object.fromEntries(Object.entries(part).map(([key, value]) => [key, themed(value)]));
  const pair = typeof part === "string" && PAIR.exec(part);
  return page.themes[pair?.[1]]?.[Number(isDark())] ?? part;
}

class Chart {
  constructor(place, spec) {
    this.place = place;
    this.spec = spec;
    this.view = null;
    this.stale = true;
    this.behind = false; // whether it has yet to show what is picked
    this.holdsPicks = spec.data.some((data) => data.name === STORE);
    this.rows = spec.data.reduce((sum, data) => sum + (dataSets.has(data.name) ? sizeOf(data.name) : 0), 0);
  }

  draw() {
    if (!this.stale) return;
    this.stale = false;
    const spec = themed(this.spec);
    for (const data of spec.data) if (dataSets.has(data.name) && !data.values) data.values = rowsOf(data.name);
    const renderer = this.rows > MANY ? "canvas" : "svg";
    const before = this.view;
    this.view = null;
    // Level 1 is errors: a layer that waits for a pick has no rows, which Vega would warn of.
    const options = { mode: "vega", actions: false, defaultStyle: false, logLevel: 1, renderer, tooltip: showTip };
    vegaEmbed(this.place, spec, options)
      .then(({ view }) => this.drawn(view, before))
      .catch((error) => this.failed(error));
  }

  drawn(view, before) {
    before?.finalize();
    this.view = view;
    if (this.holdsPicks) {
      if (picked.cells.size) this.showPicks();
      view.addDataListener(STORE, (_, tuples) => pick(cellsOf(tuples), this));
    }
    this.place.dataset.drawn = "true";
    if (!performance.getEntriesByName("clifftop-first-chart").length) performance.mark("clifftop-first-chart");
  }

  failed(error) {
    this.place.textContent = `This chart could not be drawn: ${error.message}`;
    console.error(error);
  }

  showPicks() {
    if (!this.view) return;
    this.behind = false;
    const fields = [{ type: "E", field: "cell" }];
    this.view.data(STORE, [...picked.cells].map((cell) => ({ unit: "", fields, values: [cell] })));
    this.view.runAsync();
  }
}

function cellsOf(tuples) {
  return (tuples ?? []).map((tuple) => tuple.values[tuple.fields.findIndex((field) => field.field === "cell")]);
}

const charts = new Map(
  Object.entries(page.charts).map(([id, spec]) => {
    const place = document.getElementById(id);
    return [place, new Chart(place, spec)];
  }),
);

const onScreen = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const chart = charts.get(entry.target);
      chart.isVisible = entry.isIntersecting;
      if (!entry.isIntersecting) continue;
      chart.draw();
      if (chart.behind) chart.showPicks();
    }
  },
  { rootMargin: "300px" },
);

function redraw(everything) {
  for (const chart of charts.values()) {
    chart.stale = true;
    if (everything || chart.isVisible) chart.draw();
  }
}

// Charts out of sight wait until they are looked at: a page may have ten with ten thousand marks each.
picked.listeners.push((source) => {
  for (const chart of charts.values()) {
    if (chart === source || !chart.holdsPicks) continue;
    if (chart.isVisible) chart.showPicks();
    else chart.behind = true;
  }
});
