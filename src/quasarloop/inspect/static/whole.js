// A page whose scripts or styles did not all arrive (the server was away) is loaded again.
"use strict";
(() => {
  const AGAIN_MS = 1000;
  let waiting = false;
  // Failed files do not bubble: they are seen only on the way down.
  addEventListener("error", (event) => {
    if (waiting || !["SCRIPT", "LINK"].includes(event.target?.tagName)) return;
    waiting = true;
    document.title = "Not all of this page arrived; trying again";
    setTimeout(() => location.reload(), AGAIN_MS);
  }, true);
})();
