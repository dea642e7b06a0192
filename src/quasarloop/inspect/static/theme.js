// Light or dark: the system's choice, unless the person chose. Runs before the page is drawn.
"use strict";
(() => {
  const KEY = "quasarloop-theme";
  const root = document.documentElement;
  const stored = () => {
    try { return localStorage.getItem(KEY); } catch { return null; }
  };
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    root.dataset.theme = stored() ?? (systemDark.matches ? "dark" : "light");
    root.dispatchEvent(new CustomEvent("themechange"));
  };
  apply();
  systemDark.addEventListener("change", apply);
  window.toggleTheme = () => {
    const next = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem(KEY, next); } catch { /* only this page then */ }
    root.dataset.theme = next;
    root.dispatchEvent(new CustomEvent("themechange"));
  };
  addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme")?.addEventListener("click", window.toggleTheme);
  });
})();
