// Files for one conversation: chosen beside the composer or dropped anywhere on the page.
"use strict";

(() => {
  const input = () => document.querySelector("[data-drop-input]");
  const form = () => document.querySelector("[data-drop-form]");
  const veil = (shown) => {
    const element = document.querySelector("[data-drop-veil]");
    if (element) element.hidden = !shown;
  };
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-drop-input]") && event.target.files.length) form().requestSubmit();
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
    if (input().files.length) form().requestSubmit();
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
