// An inspector's desk: their objects one after the other, each change saved.

import { ApiError, byId, el, formatZ, get, post, put } from "./api.js";
import { Desk } from "./desk.js";
import { hidePredictions, showPredictions } from "./predictions.js";
import { Saver } from "./saver.js";
import { BLANK, describe, isComplete, missing, render, same } from "./verdict.js";
import { PATIENCE_MS } from "./workbench.js";

const IDLE_MS = 60000; // a longer pause is not time spent on the object
const TICK_MS = 1000;

export class InspectorDesk extends Desk {
  path = "/api/list";
  page = "/list";
  nothing = "nothing to inspect in this list";
  unknown = "among your objects";
  actions = {
    skip: () => this.skip(),
    machine: () => this.reveal({ move: false }),
  };

  constructor(bench) {
    super(bench);
    this.lastTouched = null;
    const person = document.querySelector("meta[name=person]").content;
    this.saver = new Saver(person, {
      saved: (target, answer) => this.saved(target, answer),
      clash: (target, theirs, mine) => this.choose(target, theirs, mine),
      refused: (target, message) => this.hint(`${target} was not saved: ${message}`),
      status: (status) => this.showSaving(status),
    });
  }

  prepareList(progress) {
    byId("answer-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.answer();
    });
    this.showProgress(progress);
    this.saver.restore();
    this.clock();
  }

  async begin(target, object) {
    // A save that was on its way may have overtaken what was fetched.
    while (this.saver.isOld(target, object.label.version)) object = await get(`/api/objects/${target}`);
    this.saver.know(target, object.label.version);
    document.body.dataset.savedVersion = String(object.label.version);
    this.verdict = this.saver.unsaved(target) ?? object.label.verdict;
    this.showQuestions(object.questions);
    this.steps = [BLANK, ...object.history.map((version) => version.verdict)];
    if (!same(this.steps[this.steps.length - 1], this.verdict)) this.steps.push(this.verdict);
    this.step = this.steps.length - 1;
    this.seconds = object.seconds;
    this.bench.offer([]);
    this.bench.follow(this.verdict.spectype);
    this.bench.moveTo(this.verdict.z ?? 0);
    hidePredictions(object.machine === "closed");
    this.revealed = false;
    this.revealWhenSaved = false;
    this.show();
    const fresh = this.verdict.z === null;
    if (object.machine === "shown") await this.reveal({ move: fresh });
    // A new object opens at the best redshift that may be shown: the networks', else the fit's.
    await this.bench.openAtFit({ move: fresh && !this.bench.chips.length, patience: fresh ? PATIENCE_MS : 0 });
    await this.reorder(object.ranked).catch(() => {});
  }

  /** After a new ranking of the live queue: what is ahead, in its new order. */
  async reorder(ranked) {
    this.ranked ??= ranked;
    if (ranked === this.ranked) return;
    const { objects } = await get(`${this.path}?${this.filters}`);
    const place = new Map(objects.map((object, number) => [object.target_id, number]));
    const placeOf = ({ target_id: target }) => place.get(target) ?? objects.length;
    this.list.push(...this.list.splice(this.index + 1).sort((one, other) => placeOf(one) - placeOf(other)));
    this.ranked = ranked;
  }

  /** Get the next object too: going on is quick, and works off-line. */
  prepare(target) {
    this.ahead = target ? { target, object: get(`/api/objects/${target}`).catch(() => null) } : null;
    super.prepare(target);
    if (target) this.bench.fitAll(target).catch(() => {});
  }

  async fetch(target) {
    const ahead = this.ahead?.target === target ? await this.ahead.object : null;
    this.ahead = null;
    return ahead ?? get(`/api/objects/${target}`);
  }

  store(before, note) {
    const { target_id: target } = this.current;
    this.lastTouched = target;
    const error = this.bench.errorOf(this.verdict.z);
    this.saver.change(target, this.verdict, { note, seconds: Math.round(this.seconds * 10) / 10, z_err: error });
    // The first verdict is given blind; predictions may be seen from then on.
    if (!isComplete(before) && isComplete(this.verdict)) this.revealWhenSaved = !this.revealed;
  }

  /** From an object without changes, undo goes to the one changed last. */
  walk(by, note) {
    const elsewhere = this.lastTouched && this.lastTouched !== this.current.target_id;
    if (note === "undo" && this.step === 0 && elsewhere) this.jump(this.lastTouched);
    else super.walk(by, note);
  }

  showQuestions(questions) {
    byId("questions").hidden = !questions.length;
    byId("answer-form").hidden = questions.every(({ answer }) => answer !== null);
    byId("question-list").replaceChildren(...questions.flatMap((one) => [
      el("dt", {}, one.from), el("dd", {}, one.text), ...(one.answer === null ? [] : [el("dt", {}, "my answer"), el("dd", {}, one.answer)]),
    ]));
  }

  async answer() {
    const object = this.current;
    try {
      const { state, questions } = await put(`/api/objects/${object.target_id}/answer`, { text: byId("answer").value });
      object.state = state;
      byId("answer").value = "";
      byId("answer").blur();
      this.showQuestions(questions);
      this.hint("answered");
      this.refreshProgress();
    } catch (error) {
      this.hint(error.message);
    }
  }

  warning() {
    const differs = this.verdict.spectype !== "" && Math.abs((this.verdict.z ?? 0) - this.bench.z) > 5e-5;
    const z = `the verdict has z = ${formatZ(this.verdict.z)}, the trial is ${formatZ(this.bench.z)}`;
    return differs ? `${z}: Enter takes it, n leaves it` : "";
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
      this.hint(error.message);
    } finally {
      this.loading = false;
      this.ready();
    }
  }

  async reveal({ move }) {
    const { target_id: target } = this.current;
    try {
      const { predictions } = await post(`/api/objects/${target}/machine`);
      if (this.current.target_id !== target) return;
      this.revealed = true;
      const chips = showPredictions(predictions, (chip) => this.bench.tryOut(chip), this.bench.names);
      this.bench.offer(chips);
      if (move && chips.length) this.bench.tryOut(chips[0]);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.hint(error.message);
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
      // As the server stored it: it may have shortened a comment.
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
        this.reveal({ move: false });
      }
    }
    this.refreshProgress();
  }

  choose(target, theirs, mine) {
    byId("clash-theirs").textContent = `${target}: ${describe(theirs)}`;
    byId("clash-mine").textContent = describe(mine);
    const dialog = byId("clash");
    dialog.returnValue = "theirs";
    dialog.showModal();
    return new Promise((resolve) => {
      dialog.addEventListener("close", () => resolve(dialog.returnValue === "mine" ? "mine" : "theirs"), { once: true });
    });
  }

  show() {
    render(this.verdict);
    const state = this.current.state === "skipped" ? "skipped" : "";
    this.hint([missing(this.verdict), state].filter(Boolean).join(" · "));
    byId("skip").firstChild.textContent = state ? "unskip " : "skip ";
  }

  showSaving({ state, waiting, message }) {
    const texts = {
      saved: "all saved",
      saving: "saving …",
      unsaved: `${waiting} not saved: ${message}`,
    };
    this.badge(state, texts[state]);
  }

  async refreshProgress() {
    if (this.refreshing) return;
    this.refreshing = true;
    try {
      this.showProgress(await get("/api/progress"));
    } catch { /* the badge shows what is wrong */ } finally {
      this.refreshing = false;
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
