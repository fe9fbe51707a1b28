// How dates, names and sizes are written.

/** 20261120, 101500.12 -> "2026-11-20 10:15"; what is not a date is shown as it is. */
export function dateTime(date: string, time: string): string {
  const day = /^(\d{4})\.?(\d{2})\.?(\d{2})$/.exec(date);
  const clock = /^(\d{2})(\d{2})/.exec(time.replaceAll(':', ''));
  const written = day ? `${day[1]}-${day[2]}-${day[3]}` : date;
  return clock && written ? `${written} ${clock[1]}:${clock[2]}` : written;
}

export interface NameParts {
  family: string;
  rest: string;
}

/** Split a name group at its carets (PS3.5 6.2): family, then given, middle, prefix, suffix. */
export function nameParts(group: string): NameParts {
  const [family = '', given = '', middle = '', prefix = '', suffix = ''] = group.split('^');
  const rest = [prefix, given, middle, suffix].map(part => part.trim()).filter(Boolean).join(' ');
  return { family: family.trim(), rest };
}

/** Control and direction-changing characters as boxes, so that text cannot lie about itself. */
export function visible(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, '\u25a1');
}

export function size(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)}\u00a0${units[unit]}`;
}

export function count(number: number, one: string, many: string): string {
  return `${number.toLocaleString('en')}\u00a0${number === 1 ? one : many}`;
}
