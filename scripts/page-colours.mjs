/** @file A report page's own colours, light and dark, in a picture cut out of it: a picture alone has to follow its reader too. */

/** @param svg one picture @param page the page's HTML, whose style it takes */
export function withColours(svg, page) {
  const [light, dark] = [...page.matchAll(/:root \{([^}]*)\}/g)].map(([, colours]) => colours.replaceAll(/\s+/g, " "));
  return svg.replace(">", `><style>svg {${light}} @media (prefers-color-scheme: dark) { svg {${dark}} }</style>`);
}
