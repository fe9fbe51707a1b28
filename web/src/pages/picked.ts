// Files that a person dropped or picked, folders opened, each looked at before it is sent.

import { HEAD_BYTES, kindOf } from '../dicomweb/part10';
import { STOPPED, type Outcome, type Outgoing } from '../dicomweb/store';

const HEARD_EVERY = 100; // files; each time the page is drawn anew

export interface Picked {
  path: string;
  /** null: there is something here that the browser cannot open. */
  file: File | null;
}

/** All files below what was dropped. Must be called before the drop event ends. Never rejects. */
export async function dropped(transfer: DataTransfer): Promise<Picked[]> {
  const entries = [...transfer.items].map(item => item.webkitGetAsEntry?.()).filter(entry => entry != null);
  if (!entries.length) return chosen(transfer.files);
  const found: Picked[] = [];
  const waiting = [...entries];
  for (let entry = waiting.pop(); entry; entry = waiting.pop()) {
    try {
      if (entry.isDirectory) waiting.push(...(await children(entry as FileSystemDirectoryEntry)));
      else found.push({ path: pathOf(entry), file: await opened(entry as FileSystemFileEntry) });
    } catch {
      found.push({ path: pathOf(entry), file: null });
    }
  }
  return found.sort((a, b) => a.path.localeCompare(b.path));
}

/** Files from an <input type=file>, with their folder when a folder was picked. */
export function chosen(files: FileList | null): Picked[] {
  return [...(files ?? [])].map(file => ({ path: file.webkitRelativePath || file.name, file }));
}

async function children(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const all: FileSystemEntry[] = [];
  for (;;) {
    // The reader hands out a hundred at a time, and an empty list at the end.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return all;
    all.push(...some);
  }
}

function opened(entry: FileSystemFileEntry): Promise<File> {
  return new Promise<File>((resolve, reject) => entry.file(resolve, reject));
}

function pathOf(entry: FileSystemEntry): string {
  return entry.fullPath.replace(/^\//, '');
}

export interface Sorted {
  send: Outgoing[];
  /** What need not or cannot be sent, and why. */
  left: Outcome[];
}

/** Look into each file. `looked` hears how many are done; after `signal` the rest is left. */
export async function sortOut(
  picked: readonly Picked[], looked: (files: number) => void = () => {}, signal?: AbortSignal,
): Promise<Sorted> {
  const send: Outgoing[] = [];
  const left: Outcome[] = [];
  for (const [index, { path, file }] of picked.entries()) {
    if (index % HEARD_EVERY === 0) looked(index);
    if (signal?.aborted) {
      left.push({ path, result: 'failed', why: STOPPED });
      continue;
    }
    const head = await file?.slice(0, HEAD_BYTES).arrayBuffer().catch(() => null);
    const kind = head ? kindOf(new Uint8Array(head)) : { is: 'unreadable' as const };
    switch (kind.is) {
      case 'instance':
        send.push({ path, file: file!, sopInstanceUid: kind.sopInstanceUid });
        break;
      case 'directory':
        break; // A DICOMDIR lists the files beside it; they are sent themselves.
      case 'zip':
        left.push({ path, result: 'failed', why: 'a ZIP file: unpack it and drop the folder' });
        break;
      case 'unreadable':
        left.push({ path, result: 'failed', why: 'the browser cannot read it' });
        break;
      default:
        left.push({ path, result: 'failed', why: 'not a DICOM file, not sent' });
    }
  }
  return { send, left };
}
