"use strict";
// Light or dark: as the system has it until the reader chooses; printed light, with all parts open.
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = (name) => { root.dataset.theme = name; };
  theme(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));
  document.getElementById("theme").addEventListener("click", () => theme(root.dataset.theme === "dark" ? "light" : "dark"));
  let before = root.dataset.theme;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    theme("light");
    document.querySelectorAll("details").forEach((part) => { part.open = true; });
  });
  addEventListener("afterprint", () => theme(before));
})();
