// Views as SVG or PNG, numbers as CSV, to files.
import { announce, element, svg } from './dom';
import { field } from './field';
import { each } from './table';

const shown_styles = ['fill', 'stroke', 'stroke-width', 'stroke-dasharray', 'opacity', 'fill-opacity', 'stroke-opacity', 'font-size',
  'font-family', 'font-weight', 'text-anchor', 'dominant-baseline', 'paint-order'];

/** A drawing's SVG, canvases and chips as one SVG that needs no style sheet. */
export function as_svg(plot: HTMLElement): SVGSVGElement {
  const frame = plot.getBoundingClientRect();
  const out = svg('svg', { xmlns: 'http://www.w3.org/2000/svg', width: frame.width, height: frame.height,
    viewBox: `0 0 ${frame.width} ${frame.height}` });
  out.append(svg('rect', { width: frame.width, height: frame.height, fill: getComputedStyle(document.body).backgroundColor }));
  for (const part of plot.querySelectorAll<HTMLElement | SVGSVGElement>('canvas, svg, [data-chip]')) {
    if (part.parentElement?.closest('svg')) continue;
    const at = part.getBoundingClientRect();
    if (at.width === 0) continue;
    const x = at.left - frame.left, y = at.top - frame.top;
    if (part instanceof HTMLCanvasElement) {
      out.append(svg('image', { x, y, width: at.width, height: at.height, href: part.toDataURL('image/png') }));
    } else if (part instanceof SVGSVGElement) {
      const copy = part.cloneNode(true) as SVGSVGElement;
      inline_styles(part, copy);
      copy.setAttribute('x', String(x));
      copy.setAttribute('y', String(y));
      out.append(copy);
    } else {
      const style = getComputedStyle(part);
      out.append(svg('rect', { x, y, width: at.width, height: at.height, rx: 2, fill: style.backgroundColor }));
      out.append(svg('text', { x: x + parseFloat(style.paddingLeft), y: y + at.height * 0.72, fill: style.color,
        'font-size': style.fontSize, 'font-family': style.fontFamily }, part.textContent));
    }
  }
  return out;
}

function inline_styles(from: Element, to: Element): void {
  const style = getComputedStyle(from);
  for (const name of shown_styles) {
    const value = style.getPropertyValue(name);
    if (value) to.setAttribute(name, value);
  }
  if (style.display === 'none') to.setAttribute('display', 'none');
  to.removeAttribute('class');
  to.removeAttribute('style');
  for (let i = 0; i < from.children.length; ++i) inline_styles(from.children[i], to.children[i]);
}

/** Hands a file to the browser's downloads. */
export function save(name: string, type: string, content: BlobPart): void {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = element('a', { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
  announce(`${name} saved`);
}

export const svg_text = (plot: HTMLElement): string => new XMLSerializer().serializeToString(as_svg(plot));

export async function png_of(plot: HTMLElement, scale = 2): Promise<Blob> {
  const drawing = as_svg(plot);
  const width = Number(drawing.getAttribute('width')), height = Number(drawing.getAttribute('height'));
  const picture = new Image();
  const bytes = new TextEncoder().encode(new XMLSerializer().serializeToString(drawing));
  let raw = '';
  for (let i = 0; i < bytes.length; i += 8192) raw += String.fromCharCode(...bytes.subarray(i, i + 8192));
  picture.src = `data:image/svg+xml;base64,${btoa(raw)}`;
  await picture.decode();
  const canvas = element('canvas', { width: Math.round(width * scale), height: Math.round(height * scale) });
  canvas.getContext('2d')!.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return new Promise((done, failed) => canvas.toBlob(b => b ? done(b) : failed(new Error('the browser made no PNG'))));
}

const quoted = (text: string): string => /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;

/** One row an element: a column for each axis, then the value in full; further columns for fields of the same axes. */
export function csv_of(f: field, ...more: field[]): string {
  const lines = [[...f.axes.map(a => a.name), f.info.name, ...more.map(g => g.info.name)].map(quoted).join(',')];
  each(f, Infinity, (index, at) => {
    lines.push([...index.map((i, a) => f.axes[a].texts ? f.label(a, i) : String(f.coordinate(a, i))), f.exact(at), ...more.map(g => g.exact(at))].map(quoted).join(','));
  });
  return lines.join('\r\n') + '\r\n';
}
