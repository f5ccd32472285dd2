// Files for one conversation: chosen beside the composer or dropped anywhere on the page.
"use strict";

(() => {
  const input = () => document.querySelector("[data-drop-input]");
  const form = () => document.querySelector("[data-drop-form]");
  const veil = (shown) => {
    const element = document.querySelector("[data-drop-veil]");
    if (element) element.hidden = !shown;
  };
  // The server ends larger requests before it looks at them: better a word here.
  const send = () => {
    const size = Array.from(input().files).reduce((sum, file) => sum + file.size, 0);
    if (size <= Number(form().dataset.most)) return form().requestSubmit();
    window.footnote.tell(form().dataset.tooLarge);
    input().value = "";
  };
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-drop-input]") && event.target.files.length) send();
  });
  document.addEventListener("dragover", (event) => {
    if (!carriesFiles(event) || !input()) return;
    event.preventDefault();
    veil(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || veil(false));
  document.addEventListener("drop", (event) => {
    if (!carriesFiles(event) || !input()) return;
    event.preventDefault();
    veil(false);
    input().files = event.dataTransfer.files;
    if (input().files.length) send();
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.requestConfig?.elt?.matches("[data-drop-form]") && input()) input().value = "";
  });
  // The first file of a conversation gives the composer a new address.
  document.addEventListener("htmx:afterSettle", (event) => {
    const box = document.getElementById("private-files");
    const composer = document.querySelector("[data-composer]");
    if (event.detail.target?.id === "private-files" && box?.dataset.conversationUrl && composer) composer.action = box.dataset.conversationUrl;
  });
})();
