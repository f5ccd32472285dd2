// Uploads that survive a lost connection (tus 1.0): each file goes in pieces, three at a time, and goes on where the server says
// that it stands. A thousand files stay a few rows: those under way, and those that went wrong.
"use strict";

(() => {
  const place = document.querySelector("[data-uploader]");
  if (!place) return;
  const { say, tell } = window.footnote;
  const form = place.querySelector("[data-upload]");
  const find = (name) => place.querySelector(`[data-${name}]`);
  const texts = find("upload-texts").dataset;
  const AT_ONCE = 3;
  const ROWS = 12; // files that are all shown; of more only those under way and those that failed
  const PIECE_LEAST = 256 * 1024;
  const PIECE_MOST = 16 * 1024 * 1024;
  const PIECE_SECONDS = 3; // what a lost connection may cost
  const ASKED_AT_ONCE = 500;

  // --- Small things
  const fill = (text, ...values) => values.reduce((words, value) => words.replace("#", value), text);
  const amount = (bytes) => {
    const units = ["B", "KB", "MB", "GB"];
    const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
    return `${(bytes / 1024 ** power).toFixed(power > 1 && bytes / 1024 ** power < 10 ? 1 : 0)} ${units[power]}`;
  };
  const duration = (seconds) => (seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`);
  const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));
  const pause = (seconds) =>
    new Promise((resolve) => {
      const timer = window.setTimeout(resolve, seconds * 1000);
      window.addEventListener("online", () => (window.clearTimeout(timer), resolve()), { once: true });
    });
  const token = () => form.elements.csrfmiddlewaretoken.value;
  const post = (url, body, json) =>
    fetch(url, {
      method: "POST",
      redirect: "error",
      headers: { "X-CSRFToken": token(), Accept: "application/json", ...(json ? { "Content-Type": "application/json" } : {}) },
      body: json ? JSON.stringify(body) : new URLSearchParams(body),
    });

  class Lost extends Error {} // no answer, or one that says "later"
  class Over extends Error {} // the server's last word on this file

  // --- One file
  class Transfer {
    constructor(file, path) {
      Object.assign(this, { file, path, state: "waiting", sent: 0, text: texts.waiting, whenTaken: "ask", batch: "", url: "", whole: false });
    }

    get working() {
      return this.state === "waiting" || this.state === "sending";
    }

    request(method, url, headers, body) {
      return new Promise((resolve, reject) => {
        const request = (this.xhr = new XMLHttpRequest());
        request.open(method, url);
        request.setRequestHeader("Tus-Resumable", "1.0.0");
        request.setRequestHeader("X-CSRFToken", token());
        for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
        const from = this.sent;
        request.upload.onprogress = (event) => this.show(from + event.loaded);
        request.onload = () => resolve(request);
        request.onerror = request.ontimeout = request.onabort = () => reject(new Lost());
        request.send(body ?? null);
      });
    }

    // The answer, where it is one of this protocol; otherwise it is thrown as what it means.
    judge(answer) {
      const status = answer.status;
      if (answer.getResponseHeader("Tus-Resumable") && status < 300) return answer;
      let message = "";
      try {
        message = JSON.parse(answer.responseText).message;
      } catch {
        // A proxy or the body limit answered with a page of its own: the status says enough.
      }
      if (status === 403 || (status < 400 && answer.responseURL.includes("/sign-in/"))) throw new Over(texts.signedOut);
      if (status === 404 || status === 410) throw new Gone();
      if (status === 409 || status === 423 || status === 460 || status === 429 || (status >= 500 && status !== 507)) throw new Lost();
      if (status === 507) throw Object.assign(new Over(message || texts.full), { again: true });
      throw new Over(message || (status === 413 ? texts.tooLarge : texts.failed));
    }

    // Sends the file, however often the line is lost. Returns what became of it.
    async send() {
      let failures = 0;
      let asked = !this.url;
      while (this.state === "sending") {
        try {
          if (this.url && !asked) await this.ask();
          asked = true;
          const answer = this.url ? await this.next() : await this.create();
          failures = 0;
          const outcome = answer.getResponseHeader("Footnote-Outcome");
          if (outcome) return outcome;
        } catch (error) {
          if (this.state !== "sending") return "cancelled";
          if (error instanceof Gone) {
            if (this.whole && (await this.arrived())) return "new";
            Object.assign(this, { url: "", sent: 0, whole: false });
            if ((failures += 1) > 3) throw new Over(texts.failed);
            continue;
          }
          if (!(error instanceof Lost)) throw error;
          failures += 1;
          asked = !this.url;
          this.say(texts.lost);
          await pause(Math.min(30, 0.5 * 2 ** failures));
        }
      }
      return "cancelled";
    }

    // The first piece goes along: a small file is there after one request.
    async create() {
      const named = { path: this.path, modified: String(this.file.lastModified), batch: this.batch, "when-taken": this.whenTaken };
      const metadata = Object.entries(named).map(([name, value]) => `${name} ${base64(value)}`);
      const headers = { "Upload-Length": this.file.size, "Upload-Metadata": metadata.join(","), "Content-Type": "application/offset+octet-stream" };
      const answer = this.judge(await this.timed("POST", place.dataset.create, headers));
      this.url = answer.getResponseHeader("Location");
      this.sent = Number(answer.getResponseHeader("Upload-Offset"));
      return answer;
    }

    async ask() {
      const answer = this.judge(await this.request("HEAD", this.url, {}));
      this.sent = Number(answer.getResponseHeader("Upload-Offset"));
    }

    async next() {
      const headers = { "Upload-Offset": this.sent, "Content-Type": "application/offset+octet-stream" };
      const answer = this.judge(await this.timed("PATCH", this.url, headers));
      this.sent = Number(answer.getResponseHeader("Upload-Offset"));
      return answer;
    }

    // Sends the next piece, and makes the one after it as large as a few seconds allow.
    async timed(method, url, headers) {
      const size = Transfer.piece ?? PIECE_LEAST * 4;
      let piece;
      try {
        // Read here: a file that cannot be read any more must not look like a lost connection.
        piece = await this.file.slice(this.sent, this.sent + size).arrayBuffer();
      } catch {
        throw new Over(texts.unreadable);
      }
      this.whole = this.sent + piece.byteLength === this.file.size;
      const started = performance.now();
      const answer = await this.request(method, url, headers, piece);
      const seconds = Math.max(0.001, (performance.now() - started) / 1000);
      if (piece.byteLength === size) Transfer.piece = Math.round(Math.min(PIECE_MOST, Math.max(PIECE_LEAST, (size * PIECE_SECONDS) / seconds, size / 2), size * 2));
      return answer;
    }

    // The answer to the last piece was lost, and the upload is gone: is it a document by now?
    async arrived() {
      try {
        const answer = await post(place.dataset.existing, { paths: [this.path] }, true);
        return answer.ok && (await answer.json()).paths.length > 0;
      } catch {
        return false;
      }
    }

    cancel() {
      const url = this.url;
      const running = this.state === "sending";
      this.state = "cancelled";
      if (running) this.xhr?.abort();
      if (url) fetch(url, { method: "DELETE", keepalive: true, headers: { "Tus-Resumable": "1.0.0", "X-CSRFToken": token() } }).catch(() => {}); // it expires by itself
    }

    show(sent) {
      this.now = sent;
      const percent = Math.floor((100 * sent) / this.file.size);
      this.say(sent >= this.file.size ? texts.storing : fill(texts.uploading, percent));
      panel.soon();
    }

    say(text) {
      this.text = text;
      panel.soon();
    }
  }
  class Gone extends Error {}

  // --- All files of this page
  const queue = {
    transfers: [],
    running: 0,
    imports: new Map(), // of each open one: how many of its files are not sent
    receipt: "",
    began: 0,

    get left() {
      return this.transfers.filter((transfer) => transfer.working);
    },

    add(transfers) {
      if (!this.left.length) {
        this.transfers = this.transfers.filter((transfer) => transfer.state === "failed");
        this.began = performance.now();
      }
      for (const transfer of transfers) this.transfers.push(transfer);
      for (const transfer of transfers) this.imports.set(transfer.batch, (this.imports.get(transfer.batch) ?? 0) + 1);
      panel.show();
      this.fill();
    },

    fill() {
      for (const transfer of this.transfers) {
        if (this.running >= AT_ONCE) break;
        if (transfer.state === "waiting") this.run(transfer);
      }
      panel.soon();
    },

    async run(transfer) {
      Object.assign(transfer, { state: "sending", text: fill(texts.uploading, 0) });
      this.running += 1;
      try {
        const outcome = await transfer.send();
        if (outcome === "cancelled") transfer.state = "cancelled";
        else transfer.state = outcome === "exists" ? "exists" : "done";
        transfer.text = texts[outcome] ?? texts.new;
        transfer.now = transfer.file.size;
      } catch (error) {
        transfer.state = "failed";
        transfer.again = Boolean(error.again);
        transfer.text = error instanceof Over ? error.message : texts.failed;
        if (!(error instanceof Over)) console.error(error);
        say(`${transfer.path}: ${transfer.text}`);
      }
      this.running -= 1;
      this.leave(transfer);
      this.fill();
      if (!this.left.length) await this.end();
    },

    // One file less to come in its import; the last one closes it.
    leave(transfer) {
      const rest = (this.imports.get(transfer.batch) ?? 1) - 1;
      this.imports.set(transfer.batch, rest);
      if (rest > 0) return;
      this.imports.delete(transfer.batch);
      if (transfer.receipt) post(transfer.receipt, { action: "close" }).catch(() => {}); // it closes by itself after a day
    },

    async end() {
      panel.soon();
      say(panel.words());
      const asking = this.transfers.filter((transfer) => transfer.state === "exists");
      if (asking.length) await this.decide(asking);
    },

    // Whole files whose place was taken meanwhile.
    async decide(asking) {
      const answer = await question(asking.map((transfer) => transfer.path));
      const body = new URLSearchParams([["answer", answer], ...asking.map((transfer) => ["upload", transfer.url.split("/").at(-2)])]);
      try {
        const results = await (await post(place.dataset.waiting, body)).json();
        results.refused.forEach((sentence) => tell(sentence));
      } catch {
        return tell(texts.failed);
      }
      for (const transfer of asking) Object.assign(transfer, { state: answer === "skip" ? "cancelled" : "done", text: answer === "skip" ? texts.cancelled : texts.new });
      panel.soon();
    },

    cancel(transfers) {
      for (const transfer of transfers) {
        if (!transfer.working) continue;
        const waiting = transfer.state === "waiting";
        transfer.cancel();
        transfer.text = texts.cancelled;
        if (waiting) this.leave(transfer);
      }
      panel.soon();
    },

    again() {
      const failed = this.transfers.filter((transfer) => transfer.state === "failed" && transfer.again);
      for (const transfer of failed) Object.assign(transfer, { state: "waiting", text: texts.waiting });
      for (const transfer of failed) this.imports.set(transfer.batch, (this.imports.get(transfer.batch) ?? 0) + 1);
      this.fill();
    },
  };

  // --- What is shown: one line and bar for all, and a few rows
  const panel = {
    rows: new Map(),
    due: false,

    show() {
      find("uploads").hidden = false;
    },

    soon() {
      if (this.due) return;
      this.due = true;
      window.setTimeout(() => {
        this.due = false;
        this.draw();
      }, 100);
    },

    words() {
      const done = queue.transfers.filter((transfer) => transfer.state === "done").length;
      return fill(texts.done, done, queue.transfers.length);
    },

    draw() {
      const { transfers, left } = queue;
      const total = transfers.reduce((sum, { file }) => sum + file.size, 0);
      const sent = transfers.reduce((sum, { now, sent, state, file }) => sum + (["done", "exists", "cancelled", "failed"].includes(state) ? file.size : Math.max(now ?? 0, sent)), 0);
      let line = this.words();
      if (left.length) {
        const over = transfers.length - left.length;
        line = fill(texts.sum, Math.min(over + 1, transfers.length), transfers.length, amount(sent), amount(total));
        const passed = (performance.now() - queue.began) / 1000;
        if (passed > 5 && sent > 0 && sent < total) line += ` · ${fill(texts.left, duration((passed * (total - sent)) / sent))}`;
      }
      find("uploads-sum").textContent = line;
      find("uploads-bar").value = total ? (100 * sent) / total : 100;
      find("uploads-cancel").hidden = !left.length;
      find("uploads-close").hidden = Boolean(left.length);
      find("uploads-retry").hidden = Boolean(left.length) || !transfers.some((transfer) => transfer.state === "failed" && transfer.again);
      const receipt = find("uploads-receipt");
      receipt.hidden = !queue.receipt;
      if (queue.receipt) receipt.href = queue.receipt;
      this.list(transfers);
    },

    list(transfers) {
      const few = transfers.length <= ROWS;
      const wanted = few ? transfers : transfers.filter(({ state }) => ["sending", "failed", "exists"].includes(state));
      const shown = wanted.slice(0, few ? ROWS : 3 * ROWS);
      const list = find("uploads-list");
      for (const [transfer, row] of this.rows) {
        if (shown.includes(transfer)) continue;
        row.remove();
        this.rows.delete(transfer);
      }
      for (const transfer of shown) {
        if (!this.rows.has(transfer)) list.append(this.row(transfer));
        this.update(this.rows.get(transfer), transfer);
      }
      const more = find("uploads-more");
      more.hidden = wanted.length <= shown.length;
      more.textContent = fill(texts.more, wanted.length - shown.length);
    },

    row(transfer) {
      const row = find("upload-item").content.firstElementChild.cloneNode(true);
      row.querySelector(".upload-item__name").textContent = transfer.path;
      row.querySelector(".upload-item__name").title = transfer.path;
      row.querySelector("progress").setAttribute("aria-label", transfer.path);
      const cancel = row.querySelector("[data-upload-cancel]");
      cancel.setAttribute("aria-label", fill(texts.cancel, transfer.path));
      cancel.addEventListener("click", () => queue.cancel([transfer]));
      this.rows.set(transfer, row);
      return row;
    },

    update(row, transfer) {
      const { state, text, file, now } = transfer;
      row.classList.toggle("upload-item--ok", state === "done");
      row.classList.toggle("upload-item--bad", state === "failed");
      row.classList.toggle("upload-item--over", !transfer.working);
      const status = row.querySelector(".upload-item__status");
      if (status.textContent !== text) status.textContent = text;
      row.querySelector("progress").value = state === "done" ? 100 : (100 * (now ?? transfer.sent)) / Math.max(1, file.size);
      row.querySelector("[data-upload-cancel]").hidden = !transfer.working;
    },
  };

  // --- From chosen files to transfers: go on with what broke off, ask about what is there already, open an import
  const resumable = ({ file, path }) => {
    const items = Array.from(place.querySelectorAll("[data-unfinished]"));
    return items.find(({ dataset }) => Number(dataset.size) === file.size && Number(dataset.modified) === file.lastModified && (dataset.path === path || dataset.path.split("/").at(-1) === path));
  };

  const begin = async (entries) => {
    if (!entries.length) return tell(texts.nothing);
    const transfers = entries.map(({ file, path }) => new Transfer(file, path));
    const fresh = [];
    for (const transfer of transfers) {
      const item = resumable(transfer);
      if (item) {
        Object.assign(transfer, { url: item.dataset.unfinished, path: item.dataset.path, batch: item.dataset.batch ?? "" });
        if (transfer.batch) transfer.receipt = `${place.dataset.imports}${transfer.batch}/`;
        item.remove();
      } else fresh.push(transfer);
    }
    if (!place.querySelector("[data-unfinished]")) find("unfinished-box")?.remove();
    try {
      const chosen = await settle(fresh);
      if (chosen.length) await open(chosen);
      queue.add(transfers.filter((transfer) => !fresh.includes(transfer) || chosen.includes(transfer)));
    } catch (error) {
      console.error(error);
      tell(texts.failed);
    }
  };

  const answered = async (request) => {
    const answer = await request;
    if (!answer.ok) throw new Error(`${answer.url} answered ${answer.status}`);
    return answer.json();
  };

  // Those that are to be sent, each with what becomes of a document at its place.
  const settle = async (transfers) => {
    const there = new Set();
    for (let start = 0; start < transfers.length; start += ASKED_AT_ONCE) {
      const paths = transfers.slice(start, start + ASKED_AT_ONCE).map((transfer) => transfer.path);
      const found = await answered(post(place.dataset.existing, { paths }, true));
      found.paths.forEach((path) => there.add(path));
    }
    if (!there.size) return transfers;
    const answer = await question([...there]);
    const asked = transfers.filter((transfer) => there.has(transfer.path));
    asked.forEach((transfer) => (transfer.whenTaken = answer));
    return answer === "skip" ? transfers.filter((transfer) => !there.has(transfer.path)) : transfers;
  };

  const open = async (transfers) => {
    const made = await answered(post(place.dataset.imports, { announced: String(transfers.length) }));
    queue.receipt = made.url;
    for (const transfer of transfers) Object.assign(transfer, { batch: made.id, receipt: made.url });
  };

  // One question for all of them: "replace", "both" or "skip", which is also what closing it means.
  const question = (paths) =>
    new Promise((resolve) => {
      const dialog = find("existing-dialog");
      find("existing-title").textContent = paths.length === 1 ? texts.oneExists : fill(texts.manyExist, paths.length);
      const lines = paths.slice(0, 8).map((path) => Object.assign(document.createElement("li"), { textContent: path }));
      if (paths.length > lines.length) lines.push(Object.assign(document.createElement("li"), { textContent: fill(texts.more, paths.length - lines.length) }));
      find("existing-names").replaceChildren(...lines);
      dialog.returnValue = "";
      dialog.addEventListener("close", () => resolve(dialog.returnValue || "skip"), { once: true });
      dialog.showModal();
    });

  // --- Choosing and dropping
  const visible = ({ path }) => !path.split("/").some((part) => part.startsWith("."));
  place.addEventListener("change", (event) => {
    if (!event.target.matches("[data-files]")) return;
    begin(Array.from(event.target.files, (file) => ({ file, path: file.webkitRelativePath || file.name })).filter(visible));
    event.target.value = "";
  });
  place.addEventListener("click", (event) => {
    const choose = event.target.closest("[data-choose]");
    if (choose) document.getElementById(choose.dataset.choose).click();
    if (event.target.closest("[data-uploads-cancel]")) queue.cancel(queue.transfers);
    if (event.target.closest("[data-uploads-retry]")) queue.again();
    if (event.target.closest("[data-uploads-close]")) {
      find("uploads").hidden = true;
      queue.transfers = [];
      queue.receipt = "";
      panel.draw();
    }
    const discard = event.target.closest("[data-discard]")?.closest("[data-unfinished]");
    if (discard) {
      fetch(discard.dataset.unfinished, { method: "DELETE", headers: { "Tus-Resumable": "1.0.0", "X-CSRFToken": token() } }).catch(() => tell(texts.failed));
      discard.remove();
      if (!place.querySelector("[data-unfinished]")) find("unfinished-box").remove();
    }
  });
  if (!("webkitdirectory" in document.createElement("input"))) place.querySelector("[data-choose=folder]").hidden = true;

  // Files and, folder by folder, what lies in dropped folders; each path keeps its folders.
  const dropped = async (transfer) => {
    const found = [];
    const walk = async (entry) => {
      if (entry.isFile) {
        const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
        found.push({ file, path: entry.fullPath.replace(/^\//, "") });
      } else if (entry.isDirectory) {
        const reader = entry.createReader();
        // readEntries hands out at most a hundred at a time.
        for (;;) {
          const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
          if (!entries.length) break;
          for (const inner of entries) await walk(inner);
        }
      }
    };
    const entries = Array.from(transfer.items, (item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.length) return Array.from(transfer.files, (file) => ({ file, path: file.name })).filter(visible);
    for (const entry of entries) await walk(entry);
    return found.filter(visible);
  };
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  const veil = (shown) => (document.querySelector("[data-drop-veil]").hidden = !shown);
  document.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    veil(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || veil(false));
  document.addEventListener("drop", async (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    veil(false);
    try {
      await begin(await dropped(event.dataTransfer));
    } catch {
      tell(texts.unreadable);
    }
  });
  window.addEventListener("beforeunload", (event) => {
    if (queue.left.length) event.preventDefault();
  });
})();
