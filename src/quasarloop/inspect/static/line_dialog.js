// Name a line that was clicked: its redshift becomes the trial redshift.

import { byId, el, formatZ } from "./api.js";
import { nearest } from "./spectrum.js";

const SNAP_PX = 12; // pixels of the screen around the click in which the extreme is looked for
const KEYS = "123456789abcdefghijklmnopqrstuvwxyz";
const CLICK_PX = 4; // a pointer that moved further was dragging

/** Listen for clicks on the plot; `take(z)` is called for a line that was named. */
export class LineDialog {
  constructor(plot, limits, take) {
    this.plot = plot;
    this.limits = limits;
    this.take = take;
    this.dialog = byId("name-line");
    let down = null;
    plot.host.addEventListener("pointerdown", (event) => (down = event), true);
    plot.host.addEventListener("pointerup", (event) => {
      const still = down && Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY) < CLICK_PX;
      const wave = still && event.button === 0 ? plot.waveAt(event) : null;
      down = null;
      if (wave !== null) this.open(wave);
    }, true);
    this.dialog.addEventListener("keydown", (event) => {
      const button = this.dialog.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
      if (!button || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      button.click();
    });
  }

  /** Open the choice of the line at an observed wavelength: the peak or trough beside it. */
  open(wave) {
    const observed = this.extreme(wave);
    byId("name-line-wave").textContent = `${observed.toFixed(1)} Å`;
    const [low, high] = this.limits;
    const seen = new Set();
    const choices = this.plot.marks.filter((mark) => {
      const z = observed / mark.wave_aa - 1;
      const fresh = mark.major && z >= low && z <= high && !seen.has(mark.name);
      if (fresh) seen.add(mark.name);
      return fresh;
    });
    const buttons = choices.slice(0, KEYS.length).map((mark, i) => {
      const z = observed / mark.wave_aa - 1;
      const button = el("button", { type: "button", "data-key": KEYS[i] },
        el("kbd", {}, KEYS[i]), ` ${mark.name} `, el("small", {}, `z ${formatZ(z)}`));
      button.addEventListener("click", () => {
        this.dialog.close();
        this.take(z);
      });
      return button;
    });
    byId("name-line-choices").replaceChildren(...buttons);
    this.dialog.showModal();
  }

  /** The pixel that differs most from the level around, within a few pixels of the screen. */
  extreme(wave) {
    const { plot } = this;
    const reach = (SNAP_PX * (plot.x.end - plot.x.start)) / plot.frame().width;
    const arm = plot.arms.find((a) => wave >= a.wave[0] && wave <= a.wave[a.wave.length - 1]);
    if (!arm) return wave;
    const shown = plot.smoothed.get(arm);
    const [first, last] = [nearest(arm.wave, wave - reach), nearest(arm.wave, wave + reach)];
    const values = shown.slice(first, last + 1);
    const level = values.filter(Number.isFinite).toSorted()[values.length >> 1];
    let best = -1;
    for (let i = first; i <= last; i++) {
      const far = Math.abs(shown[i] - level);
      if (Number.isFinite(far) && (best < 0 || far > Math.abs(shown[best] - level))) best = i;
    }
    return best < 0 ? wave : arm.wave[best];
  }
}
