// What is known of the object beside its spectrum: place, brightness, targets, fibre; links outside.

import { byId, el } from "./api.js";

/** `links`: name of a page outside -> its address with {ra} and {dec}, degrees. */
export function showObject(spectrum, links) {
  const { ra_deg: ra, dec_deg: dec, sexagesimal, facts } = spectrum;
  const known = ra !== null && dec !== null;
  const fill = (address) => address.replaceAll("{ra}", ra.toFixed(6)).replaceAll("{dec}", dec.toFixed(6));
  const place = known ? `${ra.toFixed(6)} ${dec.toFixed(6)}` : "";
  byId("object").dataset.place = place;
  byId("object").replaceChildren(...[
    known ? el("span", {}, el("b", {}, sexagesimal), " ", el("span", { id: "place-deg" }, place)) : null,
    known ? el("button", { type: "button", class: "quiet", "data-action": "copy-place", title: "Copy RA and Dec (o)" },
      "copy ", el("kbd", {}, "o")) : null,
    ...facts.map(([name, text]) => el("span", {}, el("i", {}, `${name} `), text)),
    ...(known ? Object.entries(links) : []).map(([name, address]) =>
      el("a", { href: fill(address), target: "_blank", rel: "noopener noreferrer" }, name)),
  ].filter(Boolean));
}
