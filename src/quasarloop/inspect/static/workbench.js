// What inspecting and merging share: the plot, the trial redshift, display keys, fits, chips.

import { ApiError, byId, el, formatZ, get, insist, post } from "./api.js";
import { LineDialog } from "./line_dialog.js";
import { showObject } from "./object.js";
import { SpectrumPlot } from "./plot.js";
import { decodeArm } from "./spectrum.js";
import { RedshiftStrip } from "./strip.js";
import { Template } from "./template.js";
import { DEFINITION } from "./verdict.js";

const OPTIONS_KEY = "quasarloop-display";
const STEP = 5e-4; // of (1 + z): a tenth of a merge conflict's limit, about 150 km/s
const [Z_MIN, Z_MAX] = DEFINITION.z_range;
const CYCLES = { lines: ["major", "all", "none"], template: [...DEFINITION.classes.toReversed(), "none"] };
const MAX_CACHED = 6;
const SAME_Z = 6e-6; // verdicts hold five digits
export const PATIENCE_MS = 2000; // a new object is shown without a fit rather than later

export class Workbench {
  constructor({ onMove = () => {} } = {}) {
    this.onMove = onMove;
    this.z = 0;
    this.chips = []; // redshifts that networks and redrock propose
    this.fits = []; // redshifts at which templates fit
    this.chip = -1;
    this.cache = new Map(); // target -> promise of a spectrum
    this.fitted = new Map(); // target -> promise of its fits over all redshifts
    this.holding = false;
  }

  async start() {
    const reference = await insist("/api/reference", this.report);
    this.names = reference;
    this.plot = new SpectrumPlot(byId("plot"), byId("overlay"), byId("readout"), reference);
    await this.plot.start();
    this.strip = new RedshiftStrip(byId("strip"), (z) => this.moveTo(z));
    this.lineDialog = new LineDialog(this.plot, [Z_MIN, Z_MAX], (z) => this.moveTo(z));
    this.options(this.stored());
    byId("smoothing").addEventListener("input", (event) => this.options({ smoothing: Number(event.target.value) }));
    document.documentElement.addEventListener("themechange", () => {
      this.plot.recolour();
      this.strip.draw();
    });
    const input = byId("z");
    input.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        input.value = formatZ(this.z);
        input.blur();
      }
    });
  }

  /** Show an object's spectrum, or why there is none. Returns whether there is one. */
  async open(target) {
    this.target = target;
    this.repeats = null; // names of the object's other spectra, once they are known
    this.repeat = 0; // which one is shown: 0 is the worklist's own
    this.showFits({ fits: [], profile: null });
    byId("missing").hidden = true;
    byId("notice").hidden = true;
    byId("object").replaceChildren();
    try {
      const spectrum = await this.fetch(target);
      if (this.target !== target) return false;
      this.plot.show(spectrum.arms, spectrum.coadd, { hold: this.holding && this.shown });
      this.shown = true;
      this.announce(spectrum);
      showObject(spectrum, this.names.links);
      this.findRepeats().catch(() => {}); // r looks again
      return true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.cache.delete(target);
      if (this.target !== target) return false;
      this.plot.clear();
      byId("missing").textContent = error.message;
      byId("missing").hidden = false;
      return false;
    }
  }

  /** Look for other spectra of this object, and offer them. */
  async findRepeats() {
    const { target } = this;
    const { complete, repeats } = await get(`/api/objects/${target}/repeats`);
    if (this.target !== target || !complete) return;
    this.repeats = repeats;
    this.offerRepeats();
  }

  offerRepeats() {
    if (!this.repeats?.length) return;
    byId("object").append(el("button", { type: "button", class: "quiet", "data-action": "repeat" },
      `spectrum ${this.repeat + 1} of ${this.repeats.length + 1} `, el("kbd", {}, "r")));
  }

  async nextRepeat() {
    const { target } = this;
    try {
      if (!this.repeats) await this.findRepeats();
      if (this.target !== target) return;
      if (!this.repeats?.length) {
        return void this.hint(this.repeats ? "no other spectrum of this object is here" : "still looking for others; press r again");
      }
      const wanted = (this.repeat + 1) % (this.repeats.length + 1);
      this.repeat = wanted;
      const other = wanted ? load(`/api/objects/${target}/spectrum?repeat=${wanted}`) : this.fetch(target);
      const spectrum = await other;
      if (this.target !== target || this.repeat !== wanted) return;
      const { mixture } = this.plot;
      this.plot.show(spectrum.arms, spectrum.coadd, { hold: true });
      this.plot.mixture = mixture;
      this.plot.moveTo(this.z);
      this.announce(spectrum, wanted ? `another spectrum of this object: ${this.repeats[wanted - 1]}; fits are of the first` : "");
      showObject(spectrum, this.names.links);
      this.offerRepeats();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.hint(error.message);
    }
  }

  /** Get the next spectrum while this one is looked at. */
  prefetch(target) {
    if (target) this.fetch(target).catch(() => this.cache.delete(target));
  }

  fetch(target) {
    if (!this.cache.has(target)) {
      this.cache.set(target, load(`/api/objects/${target}/spectrum`));
      if (this.cache.size > MAX_CACHED) this.cache.delete(this.cache.keys().next().value);
    }
    return this.cache.get(target);
  }

  /** Show in the bar what the whole page waits for. */
  report(text) {
    byId("where").textContent = text;
  }

  /** A list without objects: the message is shown where the spectrum would be, too. */
  empty(text) {
    this.report(text);
    byId("notice").textContent = text;
    byId("notice").hidden = false;
  }

  announce(spectrum, other = "") {
    const parts = [other, spectrum.notice, spectrum.flags && `flags: ${spectrum.flags.replaceAll("|", ", ")}`];
    const text = parts.filter(Boolean).join(" · ");
    byId("notice").textContent = text;
    byId("notice").hidden = text === "";
    const place = spectrum.ra_deg === null ? "" : `, RA ${spectrum.ra_deg.toFixed(4)}°, Dec ${spectrum.dec_deg.toFixed(4)}°`;
    byId("plot").setAttribute("aria-label", `Spectrum of TARGETID ${spectrum.target_id}${place}`);
  }

  /** Move to a redshift, without any request to the server. */
  moveTo(z) {
    this.z = Math.min(Z_MAX, Math.max(Z_MIN, z));
    const input = byId("z");
    if (document.activeElement !== input) input.value = formatZ(this.z);
    this.plot.moveTo(this.z);
    this.strip.moveTo(this.z);
    this.onMove(this.z);
  }

  /** Redshifts that are proposed, to try one after the other: {z, spectype if known}. */
  offer(chips) {
    this.chips = chips;
    this.chip = -1;
    const peaks = chips.map((chip) => ({ z: chip.z, z_err: chip.z_err ?? 0, p: chip.p ?? 1 }));
    this.strip.show({ peaks });
  }

  tryOut({ z, spectype, subtype, template }) {
    const drawn = template instanceof Template || !template ? template : new Template(template);
    this.plot.mixture = drawn ? { spectype, subtype, template: drawn } : null;
    this.follow(spectype, subtype);
    this.moveTo(z);
  }

  /** Do the action of a key or button; false if it is not for us. */
  act(action, event) {
    const step = STEP * (1 + this.z) * (event?.shiftKey ? 10 : 1);
    const actions = {
      "nudge-up": () => this.moveTo(this.z + step),
      "nudge-down": () => this.moveTo(this.z - step),
      "nudge-up-fine": () => this.moveTo(this.z + step / 10),
      "nudge-down-fine": () => this.moveTo(this.z - step / 10),
      z: () => {
        byId("z").focus(); // select() alone gives it the focus in some browsers only
        byId("z").select();
      },
      chip: () => this.nextCandidate(+1),
      "chip-back": () => this.nextCandidate(-1),
      "copy-place": () => this.copyPlace(),
      "name-line": () => this.lineDialog.open(this.plot.pointed ?? (this.plot.x.start + this.plot.x.end) / 2),
      fit: () => this.fitNear(),
      "fit-wide": () => this.openAtFit(),
      "smooth-more": () => this.options({ smoothing: Math.min(20, this.plot.options.smoothing + 1) }),
      "smooth-less": () => this.options({ smoothing: Math.max(0, this.plot.options.smoothing - 1) }),
      arms: () => this.options({ separate: !this.plot.options.separate }),
      noise: () => this.options({ noise: !this.plot.options.noise }),
      lines: () => this.cycle("lines"),
      template: () => this.cycle("template"),
      subtype: () => this.nextSubtype(),
      hold: () => this.hold(!this.holding),
      repeat: () => this.nextRepeat(),
      view: () => this.plot.resetView(),
      "zoom-in": () => this.plot.zoom(0.7),
      "zoom-out": () => this.plot.zoom(1 / 0.7),
      taller: () => this.plot.zoom(0.8, "y"),
      lower: () => this.plot.zoom(1 / 0.8, "y"),
      "pan-left": () => this.plot.pan(-0.25),
      "pan-right": () => this.plot.pan(0.25),
      theme: () => window.toggleTheme(),
      help: () => byId("help").showModal(),
    };
    if (!(action in actions)) return false;
    actions[action]();
    return true;
  }

  /** Draw the template of a class, unless templates are off. */
  follow(spectype, subtype) {
    if (!(spectype in this.plot.templates) || this.plot.options.template === "none") return;
    const now = this.plot.options;
    const same = now.template === spectype && now.subtype in this.plot.templates[spectype];
    const kept = same ? now.subtype : this.plot.usual[spectype];
    this.options({ template: spectype, subtype: subtype ?? kept });
  }

  cycle(name) {
    const values = CYCLES[name];
    const next = values[(values.indexOf(this.plot.options[name]) + 1) % values.length];
    this.options(name === "template" ? { template: next, subtype: this.plot.usual[next] ?? "" } : { [name]: next });
  }

  nextSubtype() {
    const { template, subtype } = this.plot.options;
    const kinds = Object.keys(this.plot.templates[template] ?? {});
    if (kinds.length) this.options({ subtype: kinds[(kinds.indexOf(subtype) + 1) % kinds.length] });
  }

  hold(on) {
    this.holding = on;
    byId("hold").setAttribute("aria-pressed", String(on));
  }

  nextCandidate(by) {
    const candidates = [...this.chips, ...this.fits];
    if (!candidates.length) return this.hint("no redshift is proposed (F fits, m shows what is known)");
    const from = this.chip < 0 && by < 0 ? 0 : this.chip;
    this.chip = (from + by + candidates.length) % candidates.length;
    const { z, spectype = "", subtype = "" } = candidates[this.chip];
    this.hint(`candidate ${this.chip + 1} of ${candidates.length}: z = ${formatZ(z)} ${spectype} ${subtype}`);
    return this.tryOut(candidates[this.chip]);
  }

  /** The fits of every class over all redshifts, once per object. */
  fitAll(target) {
    if (!this.fitted.has(target)) {
      this.fitted.set(target, post(`/api/objects/${target}/fit`, {}));
      if (this.fitted.size > MAX_CACHED) this.fitted.delete(this.fitted.keys().next().value);
    }
    return this.fitted.get(target).catch((error) => {
      this.fitted.delete(target);
      throw error;
    });
  }

  /** Show what fits an object over all redshifts; `move` to the best. Returns whether it came in time. */
  async openAtFit({ move = true, patience = Infinity } = {}) {
    const { target } = this;
    if (move) this.hint("fitting every class …");
    const late = new Promise((done) => {
      if (patience < Infinity) setTimeout(done, patience);
    });
    const wait = this.fitAll(target).then((found) => {
      if (this.target !== target) return;
      this.showFits(found);
    });
    try {
      await Promise.race([wait, late]);
      if (this.target !== target) return;
      if (!this.fits.length) return void wait.then(() => this.hint("F opens at the best fit"), () => {});
      if (move) this.tryFit(0);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (this.target === target) this.hint(error.message);
    }
  }

  async fitNear() {
    const { target, z } = this;
    const { template } = this.plot.options;
    this.hint("fitting near the trial redshift …");
    try {
      const found = await post(`/api/objects/${target}/fit`, { z, spectype: template === "none" ? "" : template });
      if (this.target !== target) return;
      this.showFits({ ...found, profile: this.strip.profile });
      this.tryFit(0);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.hint(error.message);
    }
  }

  tryFit(number) {
    const fit = this.fits[number];
    const edge = fit.at_edge ? ", at the edge of the search" : "";
    this.tryOut(fit);
    this.hint(`best: ${describeFit(fit)}${edge}`);
  }

  /** The standard deviation of a redshift that was fitted; null of any other. */
  errorOf(z) {
    return this.fits.find((fit) => z !== null && Math.abs(fit.z - z) < SAME_Z)?.z_err ?? null;
  }

  showFits({ fits, profile }) {
    this.fits = fits.map((fit) => ({ ...fit, template: fit.template instanceof Template ? fit.template : new Template(fit.template) }));
    this.chip = -1;
    this.strip?.show(profile || !fits.length ? { profile } : {});
    byId("fits").replaceChildren(...this.fits.map((fit, number) => {
      const button = el("button", { type: "button", class: "chip fit", title: describeFit(fit) },
        `${fit.subtype} z ${fit.z.toFixed(4)}`, el("small", {}, number ? `Δχ² ${Math.round(fit.delta_chi2)}` : "best"));
      button.addEventListener("click", () => {
        this.tryOut(fit);
        this.hint(describeFit(fit));
        button.blur();
      });
      return button;
    }));
  }

  /** Copy the coordinates, in degrees. */
  async copyPlace() {
    const place = byId("object").dataset.place;
    if (!place) return this.hint("this object's place is not known");
    try {
      await navigator.clipboard.writeText(place);
      return this.hint(`copied ${place}`);
    } catch { // only pages from this machine or with HTTPS may copy by themselves
      getSelection().selectAllChildren(byId("place-deg"));
      return this.hint(`selected ${place}: copy it with Ctrl+C`);
    }
  }

  hint(text) {
    byId("z-hint").textContent = text;
  }

  /** Change how the spectrum is shown, and remember it for this browser. */
  options(changes) {
    this.plot.set(changes);
    const now = this.plot.options;
    byId("smoothing").value = now.smoothing;
    byId("smoothing-text").textContent = now.smoothing ? `${now.smoothing} pixels` : "none";
    byId("arms").textContent = now.separate ? "arms separate" : "arms together";
    byId("noise").setAttribute("aria-pressed", String(now.noise));
    byId("lines").textContent = `lines: ${now.lines}`;
    byId("template").textContent = `template: ${now.template}`;
    byId("subtype").textContent = now.template === "none" ? "–" : now.subtype;
    try {
      localStorage.setItem(OPTIONS_KEY, JSON.stringify(now));
    } catch { /* forgotten with this page, then */ }
  }

  stored() {
    try {
      return JSON.parse(localStorage.getItem(OPTIONS_KEY)) ?? {};
    } catch {
      return {};
    }
  }
}

/** A spectrum from the server, decoded. */
const load = (path) =>
  get(path).then((sent) => ({
    ...sent,
    arms: sent.arms.map(decodeArm),
    coadd: sent.coadd ? decodeArm(sent.coadd) : null,
  }));

function describeFit({ spectype, subtype, z, z_err: error, delta_chi2: worse }) {
  const plus = error === null ? "" : ` ± ${error.toPrecision(1)}`;
  const behind = worse ? `, Δχ² ${Math.round(worse)}` : "";
  return `${spectype} ${subtype === spectype ? "" : `${subtype} `}z = ${z.toFixed(5)}${plus}${behind}`;
}
