// One stream of events for the page: rows of a table, a document, a receipt. Each connection says what is new since the last one.
"use strict";

(() => {
  const HIDDEN_SECONDS = 10; // a hidden tab gives its connection back: a browser has six for one host
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));
  const fragment = (html) => document.createRange().createContextualFragment(html);

  class Live {
    constructor(place) {
      this.url = new URL(place.dataset.events, window.location.href);
      this.since = place.dataset.since;
      this.failures = 0;
      this.open();
    }

    open() {
      window.clearTimeout(this.timer);
      this.source?.close();
      if (this.since) this.url.searchParams.set("since", this.since);
      const source = (this.source = new EventSource(this.url));
      const on = (name, handle) =>
        source.addEventListener(name, (event) => {
          if (source !== this.source) return;
          this.failures = 0;
          this.since = event.lastEventId || this.since;
          handle(event.data);
        });
      on("row", (html) => this.row(html));
      on("summary", (html) => this.put(document.getElementById("summary"), html));
      on("filters", (html) => this.put(document.getElementById("filters"), html));
      on("state", (html) => {
        const state = document.querySelector("[data-state]");
        if (state) state.replaceChildren(fragment(html));
      });
      on("refresh", () => this.refresh());
      on("gone", () => window.location.reload());
      source.onerror = () => this.retry();
    }

    retry() {
      this.source.close();
      this.failures += 1;
      this.timer = window.setTimeout(() => this.open(), Math.min(30000, 500 * 2 ** this.failures));
    }

    pause() {
      this.timer = window.setTimeout(() => {
        this.source?.close();
        this.source = null;
      }, HIDDEN_SECONDS * 1000);
    }

    resume() {
      if (this.source && this.source.readyState !== EventSource.CLOSED) window.clearTimeout(this.timer);
      else this.open();
    }

    // What the keyboard stands in stays; the next piece, or the next visit, brings it up to date.
    put(place, html) {
      if (!place || place.contains(document.activeElement)) return;
      place.replaceWith(fragment(html));
    }

    row(html) {
      const fresh = this.cell(html);
      const old = fresh && document.getElementById(fresh.id);
      if (!old) return;
      const chosen = old.querySelector("[data-pick]")?.checked;
      if (chosen) fresh.querySelector("[data-pick]").checked = true;
      if (old.contains(document.activeElement)) old.querySelector(".table__state")?.replaceWith(fresh.querySelector(".table__state"));
      else old.replaceWith(fresh);
    }

    // A row outside of a table is no row to a browser's parser.
    cell(html) {
      const template = document.createElement("template");
      template.innerHTML = `<table><tbody>${html}</tbody></table>`;
      return template.content.querySelector("tr");
    }

    refresh() {
      const place = document.querySelector("[data-refresh]");
      const active = document.activeElement;
      // A chosen row's box has a name by which htmx finds it again.
      if (place && (!place.contains(active) || active.matches("[data-pick]"))) window.htmx?.trigger(place, "refresh");
      else this.stale = true;
    }

    // The keyboard left what was to be fetched anew.
    left() {
      if (!this.stale) return;
      this.stale = false;
      this.refresh();
    }
  }

  let live = null;
  document.addEventListener("visibilitychange", () => live && (document.hidden ? live.pause() : live.resume()));
  window.addEventListener("pagehide", () => live?.source?.close());
  window.addEventListener("pageshow", (event) => event.persisted && live?.open());
  document.addEventListener("focusout", () => window.setTimeout(() => live?.left()));

  // --- Choosing rows: what was chosen stays chosen when the table comes anew
  const boxes = () => all("[data-pick]");
  const count = () => {
    const chosen = boxes().filter((box) => box.checked);
    const every = document.querySelector("[data-pick-all]");
    if (every) {
      every.checked = chosen.length > 0 && chosen.length === boxes().length;
      every.indeterminate = chosen.length > 0 && !every.checked;
    }
    const label = document.querySelector("[data-picked]");
    if (label && chosen.length) label.textContent = (label.dataset.picked || "").replace("#", chosen.length);
  };
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-pick-all]")) boxes().forEach((box) => (box.checked = event.target.checked));
    if (event.target.matches("[data-pick-all], [data-pick]")) count();
  });
  let chosen = new Set();
  document.addEventListener("htmx:beforeSwap", () => (chosen = new Set(boxes().filter((box) => box.checked).map((box) => box.value))));
  document.addEventListener("htmx:afterSwap", () => {
    boxes().forEach((box) => (box.checked = box.checked || chosen.has(box.value)));
    count();
    if (live && !document.querySelector("[data-events]")) live = live.source?.close(); // a finished receipt
  });

  const place = document.querySelector("[data-events]");
  if (place) live = new Live(place);
})();
