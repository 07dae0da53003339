"use strict";
// Light or dark as the system has it, until the reader chooses; on paper always light, with the folds open that ask for it.
// Each change is told to the page by the event "repaint", so that charts on a canvas are drawn anew.
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = (name) => {
    root.dataset.theme = name;
    document.dispatchEvent(new Event("repaint"));
  };
  root.dataset.theme = dark.matches ? "dark" : "light";
  dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));
  document.getElementById("theme").addEventListener("click", () => theme(root.dataset.theme === "dark" ? "light" : "dark"));

  let before = root.dataset.theme, opened = [];
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    opened = [...document.querySelectorAll("details[data-print=open]:not([open])")];
    opened.forEach((part) => { part.open = true; });
    root.dataset.printing = "";
    theme("light");
  });
  addEventListener("afterprint", () => {
    delete root.dataset.printing;
    opened.forEach((part) => { part.open = false; });
    theme(before);
  });
})();
