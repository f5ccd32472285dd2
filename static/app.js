// Behaviour by data-attribute. Nothing here is needed to read, ask or upload: it makes those calmer and quicker.
// Nothing is kept in the browser's storage.
"use strict";

(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const texts = () => document.getElementById("texts")?.dataset ?? {};
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));
  const fragment = (html) => document.createRange().createContextualFragment(html);

  // Says something to screen readers, politely.
  const say = (text) => {
    const live = document.getElementById("live");
    if (live) live.textContent = text;
  };

  // Shows one sentence at the top of the page; what was said before by this function goes away.
  const tell = (text, level = "error") => {
    const messages = document.getElementById("messages");
    if (!messages) return;
    all("[data-told]", messages).forEach((element) => element.remove());
    const line = document.createElement("p");
    const words = document.createElement("span");
    line.className = `message message--${level}`;
    line.dataset.told = "";
    words.textContent = text;
    line.append(words);
    messages.append(line);
    window.setTimeout(() => line.remove(), 12000);
  };

  window.footnote = { say, tell }; // for the other scripts of a page

  // --- Scrolling: follows the answer only while the reader is at the end
  const scroller = () => {
    const box = document.querySelector("[data-scroll]");
    return box && box.scrollHeight > box.clientHeight + 1 && getComputedStyle(box).overflowY === "auto" ? box : document.scrollingElement;
  };
  const atEnd = () => {
    const box = scroller();
    return box.scrollHeight - box.scrollTop - box.clientHeight < 64;
  };
  const toEnd = () => {
    const box = scroller();
    box.scrollTop = box.scrollHeight;
  };
  const following = (change) => {
    const follow = atEnd();
    change();
    if (follow) toEnd();
  };

  // --- A running answer. Each connection begins with a snapshot, so a lost one costs nothing.
  const HIDDEN_SECONDS = 10; // a hidden tab gives its connection back: a browser has six for one host
  const streams = new Map();

  class Stream {
    constructor(article) {
      this.article = article;
      this.url = article.dataset.stream;
      this.failures = 0;
      this.open();
    }

    get body() {
      return this.article.querySelector("[data-answer-body]");
    }

    open() {
      window.clearTimeout(this.timer);
      this.source?.close();
      const source = (this.source = new EventSource(this.url));
      const on = (name, handle) =>
        source.addEventListener(name, (event) => {
          if (source !== this.source || !this.article.isConnected) return;
          this.failures = 0;
          following(() => handle(event.data));
        });
      on("snapshot", (html) => this.replaceBody(html));
      on("evidence", (html) => this.showEvidence(html));
      on("quotes", (html) => this.fill("[data-quotes]", html));
      on("text", (html) => this.addText(html));
      on("chip", (html) => this.piece()?.append(fragment(html)));
      on("sentence", (html) => this.settle(html));
      on("status", (html) => this.status(fragment(html).textContent));
      on("done", (html) => this.finish(html));
      source.onopen = () => this.status();
      source.onerror = () => this.retry();
    }

    // The server may be restarting or the line be down: try again with growing pauses, for as long as the page is open.
    retry() {
      this.source.close();
      if (!this.article.isConnected) return this.forget();
      this.failures += 1;
      if (this.failures > 1) this.status(texts().reconnecting, true);
      this.timer = window.setTimeout(() => this.open(), Math.min(15000, 500 * 2 ** this.failures));
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

    forget() {
      window.clearTimeout(this.timer);
      this.source?.close();
      streams.delete(this.article.id);
    }

    replaceBody(html) {
      const body = this.body;
      if (!body) return;
      const held = body.contains(document.activeElement);
      body.innerHTML = html;
      window.htmx?.process(body);
      if (held) (body.querySelector("[data-stop]") ?? body.querySelector("a, button"))?.focus({ preventScroll: true });
    }

    fill(selector, html) {
      const place = this.article.querySelector(selector);
      if (place) place.innerHTML = html;
    }

    showEvidence(html) {
      const panel = document.getElementById("evidence");
      if (panel && panel.dataset.answer === this.article.dataset.answer) {
        panel.replaceWith(fragment(html));
        const fresh = document.getElementById("evidence");
        if (fresh) window.htmx?.process(fresh);
      }
    }

    // What is being written: everything after the last settled sentence.
    piece() {
      return this.article.querySelector("[data-piece]");
    }

    addText(html) {
      const piece = this.piece();
      if (!piece) return;
      if (!this.writing) this.status(texts().writing);
      this.writing = true;
      let last = piece.lastElementChild;
      if (!last?.hasAttribute("data-text")) {
        last = document.createElement("span");
        last.dataset.text = "";
        piece.append(last);
      }
      last.append(fragment(html));
      // The first letters of an answer and of a paragraph need no space before them.
      if (!last.previousSibling && !piece.previousElementSibling) last.textContent = last.textContent.trimStart();
    }

    // A finished sentence takes the place of the whole piece (the server sends again what was written after it), or of
    // itself when it is said twice.
    settle(html) {
      const sentence = fragment(html).firstElementChild;
      const piece = this.piece();
      if (!sentence) return;
      const before = this.article.querySelector(`[data-prose] [data-ordinal="${CSS.escape(sentence.dataset.ordinal)}"]`);
      if (before) {
        piece?.replaceChildren();
        return before.replaceWith(sentence);
      }
      if (!piece) return;
      const next = document.createElement("span");
      next.dataset.piece = "";
      if ("paragraph" in sentence.dataset && piece.previousElementSibling) {
        const paragraph = document.createElement("p");
        piece.parentElement.after(paragraph);
        piece.remove();
        paragraph.append(sentence, " ", next);
      } else piece.replaceWith(sentence, " ", next);
      say(sentence.querySelector(".sentence__text")?.textContent ?? "");
    }

    // Without a text: back to what it said before the line was lost.
    status(text, lost = false) {
      const line = this.article.querySelector("[data-status]");
      if (!line) return;
      if (lost) line.dataset.before ??= line.textContent;
      else if (text === undefined) text = line.dataset.before;
      if (!lost) delete line.dataset.before;
      if (text !== undefined) line.textContent = text;
      line.classList.toggle("status--lost", lost);
    }

    finish(html) {
      this.replaceBody(html);
      delete this.article.dataset.stream;
      this.article.removeAttribute("aria-busy");
      this.forget();
      say(texts().finished);
    }
  }

  const openStreams = (within = document) => {
    const articles = all("[data-stream]", within);
    if (within.matches?.("[data-stream]")) articles.push(within);
    for (const article of articles) {
      if (article.closest("[data-still]") || streams.get(article.id)?.article === article) continue;
      streams.get(article.id)?.forget();
      streams.set(article.id, new Stream(article));
    }
  };

  document.addEventListener("visibilitychange", () => {
    for (const stream of streams.values()) document.hidden ? stream.pause() : stream.resume();
  });
  window.addEventListener("pagehide", () => streams.forEach((stream) => stream.source?.close()));
  window.addEventListener("pageshow", (event) => event.persisted && streams.forEach((stream) => stream.open()));

  // --- Sentences and their sources light each other up
  const dim = () => all(".is-lit").forEach((element) => element.classList.remove("is-lit"));
  const light = (target) => {
    dim();
    const panel = document.getElementById("evidence");
    const inEvidence = target.closest("#evidence [data-source-number]");
    const chip = target.closest("[data-answer-body] .chip");
    const place = target.closest(".sentence, .quote");
    const article = inEvidence ? document.getElementById(`answer-${panel?.dataset.answer}`) : target.closest(".answer");
    if (!article || !(inEvidence || place)) return;
    if (inEvidence) {
      const number = CSS.escape(inEvidence.dataset.sourceNumber);
      inEvidence.classList.add("is-lit");
      all(`[data-answer-body] [data-source-number="${number}"]`, article).forEach((element) => (element.closest(".sentence, .quote") ?? element).classList.add("is-lit"));
      return;
    }
    place.classList.add("is-lit");
    if (panel?.dataset.answer !== article.dataset.answer) return;
    const chips = chip ? [chip] : all("a.chip", place);
    chips.forEach((element) => panel.querySelector(`.source[data-source-number="${CSS.escape(element.dataset.sourceNumber)}"]`)?.classList.add("is-lit"));
    const first = panel.querySelector(".is-lit");
    const box = panel.closest(".side__body");
    if (first && box && chip) {
      const gap = first.getBoundingClientRect().top - box.getBoundingClientRect().top;
      if (gap < 0 || gap > box.clientHeight - 80) box.scrollTop += gap - 12;
    }
  };
  const touches = ".sentence, .quote, #evidence [data-source-number]";
  document.addEventListener("pointerover", (event) => {
    root.classList.remove("no-cards");
    if (event.target.closest?.(touches)) light(event.target);
    else if (document.querySelector(".is-lit")) dim();
  });
  document.addEventListener("focusin", (event) => (event.target.closest(touches) ? light(event.target) : dim()));

  // --- Composer
  const composer = () => document.querySelector("[data-composer]");
  const grow = (area) => {
    if (CSS.supports("field-sizing", "content")) return;
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight + 2}px`;
  };
  const ask = (question, send) => {
    const area = composer()?.elements.question;
    if (!area) return false;
    area.value = question;
    grow(area);
    area.focus();
    if (send) composer().requestSubmit();
    return true;
  };
  const pickerLabel = (picker) => {
    const boxes = all("input[type=checkbox], input[type=radio]", picker);
    const chosen = boxes.filter((box) => box.checked);
    const label = picker.querySelector("[data-picker-label]");
    if (!label) return;
    if (chosen.length === 1) label.textContent = chosen[0].dataset.name;
    else if (!chosen.length) label.textContent = texts().none;
    else label.textContent = chosen.length === boxes.length ? texts().all : texts().several.replace("#", chosen.length);
  };

  document.addEventListener("input", (event) => {
    if (event.target.matches(".composer__text")) grow(event.target);
    if (event.target.matches("[data-filter]")) {
      const words = event.target.value.trim().toLocaleLowerCase();
      all("[data-filter-text]", document.querySelector(event.target.dataset.filter)).forEach((item) => (item.hidden = !item.dataset.filterText.includes(words)));
    }
  });
  document.addEventListener("change", (event) => {
    const picker = event.target.closest(".picker");
    if (picker) pickerLabel(picker);
  });
  // A refusal was asked again elsewhere: the conversation goes on there, and the composer says so.
  document.addEventListener("submit", (event) => {
    const there = event.target.matches("[data-ask-there]") && event.submitter?.value;
    const boxes = there ? all("input[name=collections]", composer() ?? document.createElement("form")) : [];
    boxes.forEach((box) => (box.checked = box.value === there));
    boxes[0]?.dispatchEvent(new Event("change", { bubbles: true }));
  });

  // --- Copying an answer: the text with [n], then the list of its sources
  const plain = (article) => {
    const sources = new Map();
    const note = (chip) => sources.set(Number(chip.dataset.sourceNumber), [chip.dataset.title, chip.dataset.label].filter(Boolean).join(", "));
    const lines = [article.querySelector("[data-question]")?.textContent.trim() ?? "", ""];
    for (const quote of all("[data-quotes] .quote", article)) {
      const chip = quote.querySelector(".chip");
      note(chip);
      lines.push(`“${quote.querySelector("blockquote").textContent.trim()}” [${chip.dataset.sourceNumber}]`, "");
    }
    for (const paragraph of all("[data-prose] > p", article)) {
      const sentences = all(".sentence:not(.sentence--hidden)", paragraph).map((sentence) => {
        const chips = all("a.chip", sentence);
        chips.forEach(note);
        return sentence.querySelector(".sentence__text").textContent.trim() + chips.map((chip) => ` [${chip.dataset.sourceNumber}]`).join("");
      });
      if (sentences.length) lines.push(sentences.join(" "), "");
    }
    lines.push(`${texts().sources}:`);
    for (const [number, title] of [...sources].sort((a, b) => a[0] - b[0])) lines.push(`[${number}] ${title}`);
    lines.push("", texts().machine);
    return lines.join("\n");
  };
  const copy = async (article) => {
    const text = plain(article);
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Plain http in a local network has no clipboard interface; the old way still works there.
      const area = document.createElement("textarea");
      area.className = "unseen";
      area.value = text;
      document.body.append(area);
      area.select();
      const copied = document.execCommand("copy");
      area.remove();
      if (!copied) return tell(texts().notCopied);
    }
    tell(texts().copied, "success");
  };

  // --- Menus, sheets, themes, zoom
  const narrow = window.matchMedia("(max-width: 59.99rem)");
  const shut = (except) => all("details[data-menu][open]").forEach((menu) => menu !== except && !menu.contains(except) && (menu.open = false));
  const hideSheets = () => all("[popover]:popover-open").forEach((sheet) => sheet.hidePopover());

  document.addEventListener("click", (event) => {
    const target = event.target;
    shut(target.closest("details[data-menu]"));
    const article = target.closest(".answer");
    if (target.closest("[data-copy]")) copy(article);
    const suggestion = target.closest("[data-suggest]");
    if (suggestion && ask(suggestion.value, true)) event.preventDefault();
    const sheet = document.getElementById(target.closest("[data-open-sheet]")?.dataset.openSheet);
    if (sheet && narrow.matches) sheet.showPopover();
    target.closest("[data-dismiss]")?.closest(".message").remove();
    const zoom = target.closest("[data-zoom]");
    if (zoom) zoom.setAttribute("aria-pressed", document.querySelector("[data-sheet]").classList.toggle("sheet--large"));
  });
  // A question that is opened for editing is at once where the keys go, at its end.
  document.addEventListener(
    "toggle",
    (event) => {
      const area = event.target.matches?.("[data-edit][open]") ? event.target.querySelector("textarea") : null;
      if (!area) return;
      grow(area);
      area.focus();
      area.setSelectionRange(area.value.length, area.value.length);
      event.target.scrollIntoView({ block: "nearest" });
    },
    true,
  );
  // The sheets are plain columns on wide screens: an open one would stay above them.
  [narrow, window.matchMedia("(max-width: 79.99rem)"), window.matchMedia("(max-width: 47.99rem)")].forEach((query) => query.addEventListener("change", () => hideSheets()));

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.matches("[data-theme-form]") || !event.submitter) return;
    event.preventDefault();
    const data = new FormData(form, event.submitter);
    try {
      const answer = await fetch(form.action, { method: "POST", body: data, redirect: "manual" });
      if (answer.status >= 400) throw new Error(answer.statusText);
      root.dataset.theme = event.submitter.value;
      all("button", form).forEach((button) => button.setAttribute("aria-pressed", button === event.submitter));
    } catch {
      tell(texts().offline);
    }
  });

  // --- Keys
  const typing = (element) => element.matches?.("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");
  document.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const target = event.target;
    if (target.matches?.(".composer__text") && event.key === "Enter" && !event.shiftKey && !event.ctrlKey && !event.altKey) {
      event.preventDefault();
      if (target.value.trim()) target.form.requestSubmit();
      return;
    }
    if (event.key === "Escape") {
      root.classList.add("no-cards");
      const editing = target.closest?.("[data-edit][open]");
      if (editing) {
        editing.open = false;
        editing.querySelector("summary").focus();
        return;
      }
      const menu = target.closest?.("details[data-menu][open]") ?? document.querySelector("details[data-menu][open]");
      if (menu) {
        menu.open = false;
        menu.querySelector("summary").focus();
        return;
      }
      if (document.querySelector("[popover]:popover-open")) return; // the browser closes it
      const stop = all("[data-stop]").pop();
      if (stop) return stop.click();
      if (typing(target)) return target.blur();
    }
    if (event.ctrlKey || event.metaKey || event.altKey || typing(target)) return;
    const field = document.querySelector(`[data-shortcut="${CSS.escape(event.key)}"]`);
    if (field) {
      event.preventDefault();
      field.focus();
      return;
    }
    if (event.key === "?") return document.getElementById("keys")?.togglePopover();
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      if (target.closest?.(".scroll-x, .sheet--large, summary")) return;
    }
    document.querySelector(`[data-key="${CSS.escape(event.key)}"]`)?.click();
  });

  // --- htmx
  document.addEventListener("htmx:configRequest", (event) => {
    // The first question of a conversation gives the form a new address.
    if (event.target.matches("[data-composer]")) event.detail.path = event.target.getAttribute("action");
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { requestConfig, xhr } = event.detail;
    if (requestConfig?.elt?.matches("[data-composer]") && xhr.status === 422) {
      event.detail.target = document.getElementById("question-error");
      event.detail.swapOverride = "innerHTML";
      requestConfig.elt.elements.question.focus();
    }
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    const form = event.detail.requestConfig?.elt;
    openStreams(event.detail.elt);
    document.getElementById(form?.dataset?.shows)?.scrollIntoView({ block: "nearest" });
    const added = event.detail.elt.matches?.(".answer") ? event.detail.elt : document.getElementById("thread")?.lastElementChild;
    if (form?.matches?.("[data-composer], .actions form") && event.detail.xhr?.status < 300 && event.detail.target?.id === "thread") {
      if (added?.dataset.conversationUrl && composer()) composer().action = added.dataset.conversationUrl;
      toEnd();
    }
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const form = event.detail.requestConfig?.elt;
    if (!form?.matches?.("[data-composer]") || !event.detail.successful || event.detail.xhr.status === 422) return;
    form.elements.question.value = "";
    document.getElementById("question-error").replaceChildren();
    grow(form.elements.question);
    form.elements.question.focus();
  });
  // htmx notes where the window is in the session's storage; without the note it looks at the address itself.
  const forgetAddress = () => sessionStorage.removeItem("htmx-current-path-for-history");
  ["htmx:pushedIntoHistory", "htmx:replacedInHistory", "htmx:historyRestore"].forEach((name) => document.addEventListener(name, forgetAddress));
  document.addEventListener("htmx:sendError", (event) => event.target.matches?.("[data-refresh]") || tell(texts().offline));
  document.addEventListener("htmx:responseError", (event) => {
    // What refreshes itself says nothing: the next try comes by itself.
    if (!event.target.matches?.("[data-refresh]")) tell(texts().failed);
  });

  // --- Start
  forgetAddress();
  openStreams();
  all(".composer__text").forEach(grow);
  if (document.getElementById("thread")?.lastElementChild && !window.location.hash && composer()) toEnd();
  const mark = document.querySelector("#mark, .text > * > mark");
  if (mark && !window.location.hash) mark.scrollIntoView({ block: "center" }); // the text under a picture is folded away: its mark has no place yet
})();
