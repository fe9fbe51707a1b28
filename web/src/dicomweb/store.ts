// Sending files by STOW-RS (PS3.18 10.5): batches, progress, and what became of each file.

import { OURS, words } from './http';

export interface Outgoing {
  /** As the person knows it: folder and name. */
  path: string;
  file: Blob;
  sopInstanceUid: string;
}

export interface Outcome {
  path: string;
  result: 'stored' | 'warning' | 'failed';
  /** Why, in words; empty for a plain success. */
  why: string;
}

export const STOPPED = 'stopped before it was sent';

const BATCH_FILES = 25;
const BATCH_BYTES = 32 * 1024 * 1024;

/** Cut into requests of bounded size; a file larger than that goes alone. */
export function batches(files: readonly Outgoing[]): Outgoing[][] {
  const out: Outgoing[][] = [];
  let batch: Outgoing[] = [];
  let bytes = 0;
  for (const file of files) {
    if (batch.length && (batch.length >= BATCH_FILES || bytes + file.file.size > BATCH_BYTES)) {
      out.push(batch);
      batch = [];
      bytes = 0;
    }
    batch.push(file);
    bytes += file.file.size;
  }
  if (batch.length) out.push(batch);
  return out;
}

/** The multipart/related body; parts stay references to files, so that memory does not grow. */
export function multipart(files: readonly Outgoing[], boundary: string): Blob {
  const pieces: BlobPart[] = [];
  for (const { file } of files) {
    pieces.push(`--${boundary}\r\nContent-Type: application/dicom\r\n\r\n`, file, '\r\n');
  }
  pieces.push(`--${boundary}--\r\n`);
  return new Blob(pieces);
}

// Failure Reason and Warning Reason (PS3.18 table I.2-2 and PS3.4 B.2.3), in words.
const REASONS: Record<number, string> = {
  0x0110: 'the server could not process it',
  0x0111: 'already held, with other content',
  0x0122: 'this kind of object is not accepted',
  0x0124: 'you may not store this',
  0x0131: 'the transfer syntax is not supported',
  0xa700: 'the server is out of space',
  0xa900: 'its content does not match what it claims to be',
  0xb000: 'stored; other content held under this UID before was set aside',
  0xb006: 'stored, but some elements were left out',
  0xb007: 'stored, but it does not match its kind',
  0xb00e: 'other content is held under this UID and was kept; this was set aside for the operator',
  0xc000: 'not readable as DICOM',
  0xc122: 'the transfer syntax is not supported',
};

export function reasonText(code: number | undefined): string {
  if (code === undefined) return 'the server refused it';
  return REASONS[code] ?? `the server refused it (reason ${code.toString(16).toUpperCase().padStart(4, '0')}H)`;
}

type Item = Record<string, { Value?: unknown[] } | undefined>;

function items(answer: Item, tag: string): Item[] {
  return (answer[tag]?.Value ?? []) as Item[];
}

function number(item: Item, tag: string): number | undefined {
  const value = item[tag]?.Value?.[0];
  return typeof value === 'number' ? value : undefined;
}

function byUid(list: Item[]): Map<string, Item> {
  return new Map(list.map(item => [String(item['00081155']?.Value?.[0] ?? ''), item]));
}

/** Tell for each file of a batch what the Store Instances Response says (PS3.18 10.5.3). */
export function outcomes(files: readonly Outgoing[], answer: Item): Outcome[] {
  const stored = byUid(items(answer, '00081199'));
  const failures = items(answer, '00081198');
  const failed = byUid(failures);
  // A part that could not be read has no UID to be found by; its reason serves those left over.
  const nameless = failures.filter(item => !files.some(f => f.sopInstanceUid && failed.get(f.sopInstanceUid) === item));
  return files.map(({ path, sopInstanceUid }) => {
    const good = sopInstanceUid ? stored.get(sopInstanceUid) : undefined;
    if (good) {
      const warning = number(good, '00081196');
      return warning === undefined
        ? { path, result: 'stored', why: '' }
        : { path, result: 'warning', why: reasonText(warning) };
    }
    const bad = (sopInstanceUid ? failed.get(sopInstanceUid) : undefined) ?? nameless.shift();
    if (!bad && !sopInstanceUid && failures.length === 0) return { path, result: 'stored', why: '' };
    return { path, result: 'failed', why: reasonText(bad && number(bad, '00081197')) };
  });
}

/** Send one batch. `sent` hears how many bytes have left; resolves also when the server refuses. */
export function send(
  files: readonly Outgoing[], sent: (bytes: number) => void, signal: AbortSignal,
): Promise<Outcome[]> {
  const boundary = `filmroom-${crypto.getRandomValues(new Uint32Array(4)).join('')}`;
  const all = (why: string): Outcome[] => files.map(({ path }) => ({ path, result: 'failed', why }));
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', '/dicom-web/studies');
    request.setRequestHeader('Content-Type', `multipart/related; type="application/dicom"; boundary=${boundary}`);
    request.setRequestHeader('Accept', 'application/dicom+json');
    for (const [name, value] of Object.entries(OURS)) request.setRequestHeader(name, value);
    request.upload.onprogress = event => sent(event.loaded);
    request.onload = () => {
      if (request.status === 401) reject(new Error('signed out'));
      else resolve(readAnswer(request.responseText, files) ?? all(words(request.responseText) || `the server answered ${request.status}`));
    };
    request.onerror = () => resolve(all('the connection broke; send it again'));
    request.onabort = () => resolve(all(STOPPED));
    signal.addEventListener('abort', () => request.abort());
    if (signal.aborted) resolve(all(STOPPED));
    else request.send(multipart(files, boundary));
  });
}

/** What a Store Instances Response says, whatever its status (400 comes with one too); null for any other body. */
export function readAnswer(body: string, files: readonly Outgoing[]): Outcome[] | null {
  try {
    const parsed = JSON.parse(body) as Item | Item[] | null;
    const answer = Array.isArray(parsed) ? parsed[0] : parsed;
    return answer && (answer['00081199'] || answer['00081198']) ? outcomes(files, answer) : null;
  } catch {
    return null;
  }
}
