import { act, createElement } from 'react';
import { createRoot, type Root } from 'react-dom/client';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { dropped, sortOut } from '../src/pages/picked';
import { Upload } from '../src/pages/Upload';

(globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true;

type Refused = (error: unknown) => void;

function aFile(path: string, file: () => File | null) {
  return {
    isDirectory: false, fullPath: path,
    file: (good: (file: File) => void, bad: Refused) => { const got = file(); if (got) good(got); else bad(new Error('NotReadableError')); },
  };
}

function aFolder(path: string, entries: object[] | null) {
  let left = entries;
  return {
    isDirectory: true, fullPath: path,
    createReader: () => ({
      readEntries: (good: (some: object[]) => void, bad: Refused) => {
        if (!left) bad(new Error('NotReadableError'));
        else { const some = left; left = []; good(some); }
      },
    }),
  };
}

function transfer(...entries: object[]): DataTransfer {
  return { items: entries.map(entry => ({ webkitGetAsEntry: () => entry })), files: [], types: ['Files'] } as unknown as DataTransfer;
}

const text = (name: string) => new File(['hello'], name);

test('what cannot be opened does not hide what can', async () => {
  const found = await dropped(transfer(
    aFolder('/locked', null),
    aFolder('/open', [aFile('/open/b', () => null), aFile('/open/a', () => text('a'))]),
  ));
  expect(found.map(({ path, file }) => [path, file?.name])).toEqual([['locked', undefined], ['open/a', 'a'], ['open/b', undefined]]);
});

test('what cannot be opened is told as not stored', async () => {
  const { send, left } = await sortOut([{ path: 'locked', file: null }]);
  expect(send).toEqual([]);
  expect(left).toEqual([{ path: 'locked', result: 'failed', why: 'the browser cannot read it' }]);
});

test('one hears how far the reading is', async () => {
  const picked = Array.from({ length: 250 }, (_, n) => ({ path: String(n), file: null }));
  const heard: number[] = [];
  await sortOut(picked, files => heard.push(files));
  expect(heard).toEqual([0, 100, 200]);
});

test('reading can be stopped', async () => {
  const stopper = new AbortController();
  const picked = Array.from({ length: 3 }, (_, n) => ({ path: String(n), file: text('x') }));
  stopper.abort();
  const { left } = await sortOut(picked, () => {}, stopper.signal);
  expect(left.map(({ why }) => why)).toEqual(Array(3).fill('stopped before it was sent'));
});

let root: Root;
let place: HTMLElement;

beforeEach(async () => {
  place = document.body.appendChild(document.createElement('div'));
  root = createRoot(place);
  await act(async () => root.render(createElement(Upload, { onStored: () => {} })));
});

afterEach(async () => {
  await act(async () => root.unmount());
  place.remove();
});

function drop(what: DataTransfer) {
  dispatchEvent(Object.assign(new Event('drop', { cancelable: true }), { dataTransfer: what }));
}

const status = () => place.querySelector('[role=status]')?.textContent?.replaceAll('\u00a0', ' ');

test('a dropped folder that cannot be read is an error on the page', async () => {
  await act(async () => drop(transfer(aFolder('/locked', null))));
  await vi.waitFor(() => expect(status()).toBe('1 file not stored'));
  expect(place.textContent).toContain('the browser cannot read it');
});

test('while files are read the page says so', async () => {
  let go = () => {};
  const slow = { isDirectory: false, fullPath: '/slow', file: (good: (file: File) => void) => { go = () => good(text('slow')); } };
  await act(async () => drop(transfer(slow)));
  expect(status()).toBe('Reading…');
  expect(place.querySelector('progress')?.hasAttribute('value')).toBe(false);
  await act(async () => go());
  await vi.waitFor(() => expect(status()).toBe('1 file not stored'));
});
