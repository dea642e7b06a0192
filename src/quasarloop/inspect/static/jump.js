// The dialog that asks for a TARGETID to go to.

import { byId } from "./api.js";

/** Ask for a TARGETID; `said` is why the last one did not do. */
export function askJump(said = "") {
  const dialog = byId("jump");
  // A dialog keeps its last answer: without this, Escape would mean "go" after the first jump.
  dialog.returnValue = "";
  byId("jump-said").textContent = said;
  byId("jump-id").value = "";
  if (!dialog.open) dialog.showModal();
}

/** Call `jump(target)` when a TARGETID is given. */
export function onJump(jump) {
  const dialog = byId("jump");
  dialog.addEventListener("close", () => {
    const target = byId("jump-id").value.trim();
    if (dialog.returnValue === "go" && target) jump(target);
  });
}
