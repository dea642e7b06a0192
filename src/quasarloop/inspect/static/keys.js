// Every action with its key and its name: one table makes the keys work and the help page.

import { byId, el } from "./api.js";
import { DEFINITION } from "./verdict.js";

const AT_TRIAL = { STAR: "at the trial redshift; 0 if that is no star's" };
const { classes, issues, qualities } = DEFINITION;

/** [action, keys, what it does, in which mode]. Keys are `event.key` as typed. */
export const KEYS = [
  ["Verdict", [
    ...classes.map((name) => [
      `class-${name}`, [name[0].toLowerCase()], `class ${name}, ${AT_TRIAL[name] ?? "at the trial redshift"}`,
    ]),
    ["bal", ["b"], "broad absorption: yes, no, not judged"],
    ...Object.keys(qualities).map((q) => [`quality-${q}`, [q], `quality ${q}`]),
    ...Object.entries(issues).map(([letter, meaning]) => [`issue-${letter}`, [letter], `issue: ${meaning}`]),
    ["comment", ["c"], "write a comment (Enter or Esc leaves it)"],
    ["undo", ["u"], "undo the last change"],
    ["redo", ["U"], "redo"],
  ]],
  ["Redshift", [
    ["z", ["z"], "type a redshift (Enter takes it, Esc leaves it)"],
    ["take", ["Enter"], "take the trial redshift into the verdict"],
    ["nudge-up", ["ArrowRight"], "higher by 0.0005 (1+z); with Shift ten times that"],
    ["nudge-down", ["ArrowLeft"], "lower by as much"],
    ["nudge-up-fine", ["."], "higher by 0.00005 (1+z)"],
    ["nudge-down-fine", [","], "lower by as much"],
    ["fit", ["f"], "fit the class of the template near the trial redshift"],
    ["fit-wide", ["F"], "fit every class over all redshifts"],
    ["chip", ["x"], "next candidate: proposed or fitted"],
    ["chip-back", ["X"], "previous candidate"],
    ["name-line", ["h"], "name the line under the pointer (a click on the spectrum does, too)"],
    ["machine", ["m"], "show predictions of networks and redrock"],
  ]],
  ["Going on", [
    ["next", ["n", " "], "next object"],
    ["previous", ["p"], "previous object"],
    ["skip", ["k"], "skip: put aside for later"],
    ["jump", ["j"], "jump to a TARGETID"],
    ["list", ["l"], "back to the list"],
    ["copy-place", ["o"], "copy RA and Dec, degrees"],
  ]],
  ["Merging", [
    ["adopt", ["w"], "adopt the next inspector's verdict"],
    ["decide", ["d"], "decide: store this as the final label"],
  ], "merge"],
  ["Display", [
    ["smooth-more", ["]"], "smooth more"],
    ["smooth-less", ["["], "smooth less"],
    ["lines", ["i"], "lines: major, all, none"],
    ["template", ["t"], "template: QSO, GALAXY, STAR, none"],
    ["subtype", ["T"], "template: next kind of this class"],
    ["arms", ["a"], "arms together or separate"],
    ["noise", ["e"], "noise on or off"],
    ["zoom-in", ["+", "="], "zoom in"],
    ["zoom-out", ["-"], "zoom out"],
    ["pan-left", ["<"], "pan left"],
    ["pan-right", [">"], "pan right"],
    ["taller", ["ArrowUp"], "flux axis: taller"],
    ["lower", ["ArrowDown"], "flux axis: lower"],
    ["repeat", ["r"], "next spectrum of this object: other files, single exposures"],
    ["view", ["v"], "whole spectrum"],
    ["hold", ["y"], "keep this view for the next object"],
    ["theme", ["D"], "light or dark"],
    ["help", ["?"], "this help"],
  ]],
];

// Further keys that mean something in a text field.
const EDITING = new Set(["Backspace", "Escape"]);
const NAMES = { " ": "Space", ArrowRight: "→", ArrowLeft: "←", ArrowUp: "↑", ArrowDown: "↓" };

/**
 * Call `act(action, event)` for keys and for buttons with `data-action`.
 *
 * While `busy()` (the next object is on its way), keys wait: dropped or half-taken keys would turn
 * a typed redshift into a quality. `replay()`, which is returned, does what waited, in order.
 */
export function listen(mode, act, busy) {
  const byKey = new Map();
  for (const [, actions, only] of KEYS) {
    if (only && only !== mode) continue;
    for (const [action, keys] of actions) for (const key of keys) byKey.set(key, action);
  }
  const waiting = [];
  const press = (key, event) => {
    const action = byKey.get(key);
    if (action) act(action, event);
    return Boolean(action);
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (busy() || waiting.length) {
      if (event.key.length > 1 && !byKey.has(event.key) && !EDITING.has(event.key)) return;
      event.preventDefault();
      waiting.push({ key: event.key, shiftKey: event.shiftKey });
      return;
    }
    const place = event.target;
    if (isText(place)) return;
    // A focused button keeps Space and Enter: that is how it is pressed.
    const onControl = place.matches?.("button, a, input[type=range]");
    if (onControl && ([" ", "Enter"].includes(event.key) || (place.type === "range" && event.key.startsWith("Arrow")))) return;
    if (press(event.key, event)) event.preventDefault();
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-action]");
    if (!button || busy()) return;
    act(button.dataset.action, event);
    // Back to the page, so that the next key is a shortcut and not a press of this button.
    if (event.detail > 0) button.blur();
  });
  fillHelp(mode);
  const replay = () => {
    while (waiting.length && !busy()) {
      const field = document.activeElement;
      if (!isText(field) && document.querySelector("dialog[open]")) return;
      const event = waiting.shift();
      if (isText(field)) type(field, event.key);
      else press(event.key, event);
    }
  };
  // Later than the dialog's own listeners, which may start what the keys have to wait for.
  document.addEventListener("close", () => setTimeout(replay), true);
  return replay;
}

/** Whether keys belong to a text field. The field of a closed dialog has the focus until the next frame. */
const isText = (node) =>
  (node?.matches?.("input:not([type=range]), textarea, select") ?? false) && node.checkVisibility();

/** Do in a text field what a key would have done. */
function type(field, key) {
  const { selectionStart: start, selectionEnd: end } = field;
  const dialog = field.closest("dialog");
  if (key.length === 1) field.setRangeText(key, start, end, "end");
  else if (key === "Backspace") field.setRangeText("", start === end ? Math.max(0, start - 1) : start, end, "end");
  else if (key === "Enter" && field.form) field.form.requestSubmit(field.form.querySelector("button"));
  else if (key === "Escape" && dialog) dialog.close();
  // Only for the field itself: a key that bubbles would be put behind those that still wait.
  else field.dispatchEvent(new KeyboardEvent("keydown", { key, cancelable: true }));
}

function fillHelp(mode) {
  for (const [title, actions, only] of KEYS) {
    if (only && only !== mode) continue;
    const rows = actions.flatMap(([, keys, what]) => [
      el("dt", {}, ...keys.map((key) => el("kbd", {}, NAMES[key] ?? key))),
      el("dd", {}, what),
    ]);
    byId("help-keys").append(el("section", {}, el("h3", {}, title), el("dl", {}, ...rows)));
  }
}
