// The page of one object after the other: picks the desk of the page's mode and wires the keys.

import { ApiError, byId } from "./api.js";
import { InspectorDesk } from "./inspect_desk.js";
import { listen } from "./keys.js";
import { MergerDesk } from "./merge_desk.js";
import { PracticeDesk } from "./practice_desk.js";
import { Workbench } from "./workbench.js";

const mode = document.querySelector(".workbench").dataset.mode;
const bench = new Workbench({ onMove: () => desk.moved() });
const DESKS = { inspect: InspectorDesk, merge: MergerDesk, practice: PracticeDesk };
const desk = new DESKS[mode](bench);

function act(action, event) {
  if (bench.act(action, event)) return;
  if (action === "comment") {
    byId("comment").focus();
  } else {
    desk.act(action);
  }
}

byId("z").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  const z = Number(byId("z").value.trim().replace(",", "."));
  byId("z").blur();
  if (byId("z").value.trim() === "" || !Number.isFinite(z)) {
    bench.hint("that is no redshift");
    return;
  }
  bench.moveTo(z);
  if (desk.verdict.spectype !== "") desk.act("take");
});

function keepComment() {
  desk.comment(byId("comment").value);
}
byId("comment").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" && event.key !== "Escape") return;
  keepComment(); // a window in the background has no blur events
  byId("comment").blur();
});
byId("comment").addEventListener("blur", keepComment);
addEventListener("pagehide", () => {
  if (document.activeElement === byId("comment")) keepComment();
});

// A request that failed while an action was done: its message is shown.
addEventListener("unhandledrejection", (event) => {
  if (!(event.reason instanceof ApiError)) return;
  event.preventDefault();
  desk.hint(event.reason.message);
});
desk.ready = listen(mode, act, () => desk.loading);
// For measuring and for tests: what is drawn, and how long the last move took.
window.quasarloop = { bench, desk };
try {
  await bench.start();
  await desk.start();
} catch (error) {
  bench.report(error.message);
  throw error;
}
document.body.dataset.ready = "true";
