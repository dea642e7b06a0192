// A spectrum in the browser: decoding, smoothing, ranges. Pure functions on typed arrays.

export const MASKED = 1;
export const FLAGGED = 2;
const MAX_FIT_BINS = 800;
const RANGE_SIGMA = 8; // pixels: the flux axis is chosen for features, not for noise
const PEAK_SIGMA = 1.5; // pixels: what is clear of the noise in several
const PEAK_SN = 3.5; // times the noise of one pixel: 8 of what is smoothed, no peak of noise
const PEAK_OVER_BESIDE = 1.7; // of a line as narrow as the resolution, one pixel (σ) wide
const LABEL_ROOM = 0.17; // of the range, above and below the data, for names of lines

function bytes(text) {
  const raw = atob(text);
  const out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out;
}

export const floats = (text) => new Float32Array(bytes(text).buffer);

/** Decode an arm as the server sends it: wave (Å), flux, ivar, state per pixel. */
export function decodeArm(arm) {
  return {
    name: arm.name,
    wave: floats(arm.wave),
    flux: floats(arm.flux),
    ivar: floats(arm.ivar),
    state: bytes(arm.state),
  };
}

/** Smooth by a Gaussian of `sigma` pixels, weighted by ivar; NaN where no pixel has data. */
export function smooth(flux, ivar, sigma) {
  const n = flux.length;
  const out = new Float32Array(n);
  const half = Math.ceil(3 * sigma);
  const kernel = new Float64Array(half + 1);
  for (let k = 0; k <= half; k++) kernel[k] = sigma > 0 ? Math.exp(-0.5 * (k / sigma) ** 2) : 1;
  for (let i = 0; i < n; i++) {
    let sum = 0;
    let weight = 0;
    const first = Math.max(0, i - half);
    const last = Math.min(n - 1, i + half);
    for (let j = first; j <= last; j++) {
      const w = ivar[j] * kernel[Math.abs(i - j)];
      sum += w * flux[j];
      weight += w;
    }
    out[i] = weight > 0 ? sum / weight : NaN;
  }
  return out;
}

/** Noise per pixel, 1/√ivar; NaN where there is no data. */
export function noise(ivar) {
  return Float32Array.from(ivar, (v) => (v > 0 ? 1 / Math.sqrt(v) : NaN));
}

/** Flux range that shows the spectrum with its peaks, and not its worst pixels: [low, high]. */
export function fluxRange(arms) {
  const values = arms
    .flatMap((arm) => [...smooth(arm.flux, arm.ivar, RANGE_SIGMA)].filter(Number.isFinite))
    .sort((a, b) => a - b);
  if (values.length === 0) return [-1, 1];
  const at = (share) => values[Math.min(values.length - 1, Math.floor(share * values.length))];
  const low = Math.min(0, at(0.01));
  const high = Math.max(at(0.997), low + 1e-3, ...arms.map(highestPeak));
  const margin = LABEL_ROOM * (high - low);
  return [low - margin, high + margin];
}

/** The highest flux that is seen in several pixels and clear of the noise; narrow lines whole. */
function highestPeak({ flux, ivar }) {
  const smoothed = smooth(flux, ivar, PEAK_SIGMA);
  const level = smooth(flux, ivar, RANGE_SIGMA);
  let highest = -Infinity;
  for (let i = 1; i < flux.length - 1; i++) {
    const clear = (value, weight) => value * Math.sqrt(weight) > PEAK_SN / 2;
    const beside = clear(flux[i - 1], ivar[i - 1]) || clear(flux[i + 1], ivar[i + 1]);
    if (!beside || smoothed[i] * Math.sqrt(ivar[i]) <= PEAK_SN) continue;
    // As high above the level as the pixel beside it allows: a single bad one is none of a line.
    const next = Math.max(...[i - 1, i + 1].map((j) => (ivar[j] > 0 ? flux[j] : level[i])));
    highest = Math.max(highest, level[i] + Math.min(flux[i] - level[i], PEAK_OVER_BESIDE * (next - level[i])));
  }
  return highest;
}

export function waveRange(arms) {
  const low = Math.min(...arms.map((arm) => arm.wave[0]));
  const high = Math.max(...arms.map((arm) => arm.wave[arm.wave.length - 1]));
  const margin = 0.01 * (high - low);
  return [low - margin, high + margin];
}

/** Sum a spectrum into few bins, to scale a template quickly at every move: wave, flux, ivar. */
export function coarse(arms) {
  const [low, high] = waveRange(arms);
  const n = MAX_FIT_BINS;
  const sum = new Float64Array(n);
  const weight = new Float64Array(n);
  for (const arm of arms) {
    for (let i = 0; i < arm.wave.length; i++) {
      const bin = Math.floor(((arm.wave[i] - low) / (high - low)) * n);
      if (bin >= 0 && bin < n && arm.ivar[i] > 0) {
        sum[bin] += arm.ivar[i] * arm.flux[i];
        weight[bin] += arm.ivar[i];
      }
    }
  }
  const bins = [];
  // Every filled bin counts alike: one noisy end must not be sacrificed to one bright line.
  for (let bin = 0; bin < n; bin++) {
    if (weight[bin] > 0) {
      bins.push({ wave: low + ((bin + 0.5) / n) * (high - low), flux: sum[bin] / weight[bin], weight: weight[bin] });
    }
  }
  const typical = bins.map((b) => b.weight).sort((a, b) => a - b)[bins.length >> 1] ?? 1;
  for (const b of bins) b.weight = Math.min(b.weight, typical);
  return { bins, low, high };
}

/** Index of the pixel nearest to a wavelength. */
export function nearest(wave, value) {
  let low = 0;
  let high = wave.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (wave[middle] < value) low = middle;
    else high = middle;
  }
  return value - wave[low] < wave[high] - value ? low : high;
}
