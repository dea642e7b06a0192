// An inspector's desk: which object, what they say of it, and that it is saved.

import { byId, formatZ, get, insist, post, put, ApiError } from "./api.js";
import { askJump } from "./jump.js";
import { hideMachine, showMachine } from "./machine.js";
import { Saver } from "./saver.js";
import { BLANK, changed, describe, isComplete, missing, render, same } from "./verdict.js";

const IDLE_MS = 60000; // a longer pause is not time spent on the object
const TICK_MS = 1000;

export class InspectorDesk {
  constructor(bench) {
    this.bench = bench;
    this.verdict = BLANK;
    this.list = [];
    this.index = -1;
    this.steps = [BLANK]; // what undo and redo walk along
    this.step = 0;
    this.lastTouched = null;
    const person = document.querySelector("meta[name=person]").content;
    this.saver = new Saver(person, {
      saved: (target, answer) => this.saved(target, answer),
      clash: (target, theirs, mine) => this.askWhich(target, theirs, mine),
      refused: (target, message) => this.refused(target, message),
      status: (status) => this.showSaving(status),
    });
  }

  async start() {
    const asked = new URLSearchParams(location.search);
    const wanted = asked.get("target");
    asked.delete("target");
    this.filters = asked.toString();
    const { objects, progress } = await insist(`/api/list?${this.filters}`, this.bench.tell);
    this.list = objects;
    this.showProgress(progress);
    this.saver.restore();
    this.clock();
    const first = objects.findIndex((o) => (wanted ? o.target_id === wanted : o.state === "todo"));
    if (wanted && first < 0) await this.jump(wanted);
    else await this.go(Math.max(0, first));
  }

  get current() {
    return this.list[this.index];
  }

  /** Show the object at a place in the list; stay where we are if it cannot be had. */
  async go(index) {
    if (!this.list.length) {
      this.bench.empty("nothing to inspect in this list");
      return;
    }
    const { target_id: target } = this.list[index];
    this.loading = true;
    byId("verdict-hint").textContent = "";
    this.bench.prefetch(target);
    try {
      let object = await this.fetch(target);
      this.index = index;
      document.body.dataset.target = "";
      history.replaceState(null, "", `?${new URLSearchParams([...new URLSearchParams(this.filters), ["target", target]])}`);
      byId("where").textContent = `${index + 1} / ${this.list.length} · ${target}`;
      await this.bench.open(target);
      // A save that was on its way may have overtaken what was fetched.
      while (this.saver.isOld(target, object.label.version)) object = await get(`/api/objects/${target}`);
      this.begin(target, object);
      if (object.machine === "shown") await this.showMachine({ move: this.verdict.z === null });
      document.body.dataset.target = target;
      this.prepare(this.list[index + 1]?.target_id);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      byId("verdict-hint").textContent = `${target} cannot be had: ${error.message}`;
    } finally {
      this.loading = false;
      this.ready();
    }
  }

  /** Lay an object out on the desk. */
  begin(target, object) {
    this.warned = false;
    this.saver.know(target, object.label.version);
    document.body.dataset.savedVersion = String(object.label.version);
    this.verdict = this.saver.unsaved(target) ?? object.label.verdict;
    this.steps = [BLANK, ...object.history.map((version) => version.verdict)];
    if (!same(this.steps[this.steps.length - 1], this.verdict)) this.steps.push(this.verdict);
    this.step = this.steps.length - 1;
    this.seconds = object.seconds;
    this.bench.offer([]);
    this.bench.hint("");
    this.bench.follow(this.verdict.spectype);
    this.bench.moveTo(this.verdict.z ?? 0);
    hideMachine(object.machine === "closed");
    this.machineShown = false;
    this.revealWhenSaved = false;
    this.show();
  }

  /** Get the next object while this one is looked at: going on is quick, and works off-line. */
  prepare(target) {
    this.ahead = target ? { target, object: get(`/api/objects/${target}`).catch(() => null) } : null;
    this.bench.prefetch(target);
  }

  async fetch(target) {
    const ahead = this.ahead?.target === target ? await this.ahead.object : null;
    this.ahead = null;
    return ahead ?? get(`/api/objects/${target}`);
  }

  /** Do what a key or button says. */
  act(action) {
    if (!this.current) return;
    const actions = {
      next: () => this.leave(this.index + 1),
      previous: () => this.leave(this.index - 1),
      skip: () => this.skip(),
      jump: () => askJump(),
      list: () => this.toList(),
      undo: () => this.walk(-1, "undo"),
      redo: () => this.walk(+1, "redo"),
      machine: () => this.showMachine({ move: false }),
    };
    if (action in actions) {
      actions[action]();
      return;
    }
    const next = changed(this.verdict, action, this.bench.z);
    if (next) this.change(next);
  }

  comment(text) {
    if (this.current && text !== this.verdict.comment) this.change({ ...this.verdict, comment: text });
  }

  change(verdict, note = "") {
    if (same(verdict, this.verdict)) return;
    const { target_id: target } = this.current;
    if (note === "") {
      this.steps = [...this.steps.slice(0, this.step + 1), verdict];
      this.step = this.steps.length - 1;
    }
    const first = !isComplete(this.verdict) && isComplete(verdict);
    this.verdict = verdict;
    this.lastTouched = target;
    this.saver.change(target, verdict, { note, seconds: Math.round(this.seconds * 10) / 10 });
    this.bench.follow(verdict.spectype);
    if (verdict.z !== null && Math.abs(verdict.z - this.bench.z) > 1e-6) this.bench.moveTo(verdict.z);
    this.show();
    // The first verdict is given blind; what the machines think may be seen from then on.
    if (first) this.revealWhenSaved = !this.machineShown;
  }

  /** Walk back or forth along this object's changes; from an untouched one, go to the last. */
  walk(by, note) {
    const next = this.step + by;
    if (next >= 0 && next < this.steps.length) {
      this.step = next;
      this.change(this.steps[next], note);
    } else if (note === "undo" && this.lastTouched && this.lastTouched !== this.current.target_id) {
      this.jump(this.lastTouched);
    } else {
      byId("verdict-hint").textContent = `nothing to ${note}`;
    }
  }

  /** Go on, unless the trial redshift was moved away from the verdict's and not taken. */
  leave(index) {
    const differs = this.verdict.spectype !== "" && Math.abs((this.verdict.z ?? 0) - this.bench.z) > 5e-5;
    if (differs && !this.warned) {
      this.warned = true;
      byId("verdict-hint").textContent =
        `the verdict says z = ${formatZ(this.verdict.z)}, the trial is ${formatZ(this.bench.z)}: Enter takes it, n leaves it`;
      return;
    }
    if (index < 0) byId("verdict-hint").textContent = "this is the first";
    else if (index >= this.list.length) byId("verdict-hint").textContent = "this was the last of this list";
    else this.go(index);
  }

  async skip() {
    const object = this.current;
    const skipped = object.state !== "skipped";
    this.loading = true;
    try {
      const { state } = await put(`/api/objects/${object.target_id}/skip`, { skipped });
      object.state = state;
      this.show();
      this.refreshProgress();
      if (state === "skipped" && this.index + 1 < this.list.length) await this.go(this.index + 1);
    } catch (error) {
      byId("verdict-hint").textContent = error.message;
    } finally {
      this.loading = false;
      this.ready();
    }
  }

  async jump(target) {
    let index = this.list.findIndex((object) => object.target_id === target);
    if (index < 0) {
      const { objects } = await get("/api/list");
      const found = objects.find((object) => object.target_id === target);
      if (found) {
        this.list.splice(this.index + 1, 0, found);
        index = this.index + 1;
      }
    }
    if (index >= 0) return this.go(index);
    askJump(`${target} is not among your objects`);
    if (this.index < 0) await this.go(0);
    return undefined;
  }

  toList() {
    location.assign(`/list?${this.filters}`);
  }

  async showMachine({ move }) {
    const { target_id: target } = this.current;
    try {
      const { opinion } = await post(`/api/objects/${target}/machine`);
      if (this.current.target_id !== target) return;
      this.machineShown = true;
      const chips = showMachine(opinion, (chip) => this.bench.tryOut(chip));
      this.bench.offer(chips);
      if (move && chips.length) this.bench.tryOut(chips[0]);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      byId("verdict-hint").textContent = error.message;
    }
  }

  moved() {
    this.warned = false;
  }

  saved(target, answer) {
    const object = this.list.find((one) => one.target_id === target);
    if (object) {
      object.state = isComplete(answer.verdict) ? "done" : "todo";
      object.version = answer.version;
    }
    if (this.current?.target_id === target) {
      // The server's word counts: it may have shortened a comment.
      if (this.saver.unsaved(target) === null) {
        this.verdict = answer.verdict;
        if (answer.taken) this.bench.moveTo(answer.verdict.z ?? this.bench.z);
        this.steps[this.step] = answer.verdict;
      }
      document.body.dataset.savedVersion = String(answer.version);
      render(this.verdict);
      // Not before: an answer to an earlier change would let the verdict's own save look informed.
      if (this.revealWhenSaved && isComplete(answer.verdict)) {
        this.revealWhenSaved = false;
        this.showMachine({ move: false });
      }
    }
    this.refreshProgress();
  }

  askWhich(target, theirs, mine) {
    byId("clash-theirs").textContent = `${target}: ${describe(theirs)}`;
    byId("clash-mine").textContent = describe(mine);
    const dialog = byId("clash");
    dialog.returnValue = "theirs";
    dialog.showModal();
    return new Promise((resolve) => {
      dialog.addEventListener("close", () => resolve(dialog.returnValue === "mine" ? "mine" : "theirs"), { once: true });
    });
  }

  refused(target, message) {
    byId("verdict-hint").textContent = `${target} was not saved: ${message}`;
  }

  show() {
    render(this.verdict);
    const state = this.current.state === "skipped" ? "skipped" : "";
    byId("verdict-hint").textContent = [missing(this.verdict), state].filter(Boolean).join(" · ");
    byId("skip").firstChild.textContent = state ? "unskip " : "skip ";
  }

  showSaving({ state, waiting, message }) {
    const badge = byId("save-state");
    const texts = {
      saved: "all saved",
      saving: "saving …",
      unsaved: `${waiting} not saved: ${message}`,
    };
    badge.dataset.state = state;
    badge.textContent = texts[state];
  }

  async refreshProgress() {
    if (this.asking) return;
    this.asking = true;
    try {
      this.showProgress(await get("/api/progress"));
    } catch { /* the badge says what is wrong */ } finally {
      this.asking = false;
    }
  }

  showProgress({ done, total, seconds_per_object: pace }) {
    byId("meter").hidden = false;
    byId("meter-bar").max = Math.max(1, total);
    byId("meter-bar").value = done;
    byId("meter-text").textContent = `${done} of ${total} done${pace === null ? "" : ` · ${pace} s each`}`;
  }

  /** Count the time spent: while the page is seen and somebody does something. */
  clock() {
    let active = Date.now();
    for (const kind of ["keydown", "pointermove", "pointerdown", "wheel"]) {
      addEventListener(kind, () => (active = Date.now()), { passive: true });
    }
    setInterval(() => {
      if (!document.hidden && Date.now() - active < IDLE_MS) this.seconds += TICK_MS / 1000;
    }, TICK_MS);
  }
}
