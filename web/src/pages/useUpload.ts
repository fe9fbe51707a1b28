// One upload: its batches two at a time, its progress, its outcomes.

import { useRef, useState } from 'react';
import { goToSignIn } from '../dicomweb/session';
import { batches, send, type Outcome } from '../dicomweb/store';
import { sortOut, type Picked, type Sorted } from './picked';

const AT_ONCE = 2;

export interface Progress {
  files: number;
  done: number;
  bytes: number;
  sentBytes: number;
  outcomes: Outcome[];
  running: boolean;
  /** Still looking into the files: `done` of `files` so far, 0 of 0 while it is not known how many there are. */
  reading: boolean;
}

const READING: Progress = { files: 0, done: 0, bytes: 0, sentBytes: 0, outcomes: [], running: true, reading: true };
const UNREADABLE: Outcome = { path: 'what was dropped', result: 'failed', why: 'the browser cannot read it' };

export interface UploadState {
  progress: Progress | null;
  start: (picking: Picked[] | Promise<Picked[]>) => Promise<void>;
  stop: () => void;
  close: () => void;
}

export function useUpload(onStored: () => void): UploadState {
  const [progress, setProgress] = useState<Progress | null>(null);
  const running = useRef<AbortController | null>(null);

  async function start(picking: Picked[] | Promise<Picked[]>) {
    if (running.current || (Array.isArray(picking) && !picking.length)) return;
    const stopper = new AbortController();
    running.current = stopper;
    setProgress(READING);
    const { send: files, left } = await read(picking, stopper.signal);
    const queue = batches(files);
    const sent = new Map<number, number>();
    let outcomes = left;
    const bytes = files.reduce((sum, { file }) => sum + file.size, 0);
    const show = (stillRunning: boolean) => setProgress({
      files: files.length + left.length,
      done: outcomes.length,
      bytes,
      sentBytes: Math.min(bytes, [...sent.values()].reduce((sum, some) => sum + some, 0)),
      outcomes,
      running: stillRunning,
      reading: false,
    });
    show(true);
    let next = 0;
    const work = async () => {
      while (next < queue.length) {
        const mine = next++;
        const told = await send(queue[mine]!, some => { sent.set(mine, some); show(true); }, stopper.signal);
        sent.set(mine, queue[mine]!.reduce((sum, { file }) => sum + file.size, 0));
        outcomes = [...outcomes, ...told];
        show(true);
        onStored();
      }
    };
    try {
      await Promise.all(Array.from({ length: AT_ONCE }, work));
    } catch {
      goToSignIn();
    }
    running.current = null;
    show(false);
  }

  async function read(picking: Picked[] | Promise<Picked[]>, signal: AbortSignal): Promise<Sorted> {
    try {
      const picked = await picking;
      return await sortOut(picked, done => setProgress({ ...READING, files: picked.length, done }), signal);
    } catch {
      return { send: [], left: [UNREADABLE] };
    }
  }

  return {
    progress,
    start,
    stop: () => running.current?.abort(),
    close: () => setProgress(null),
  };
}
