// Files and folders into the archive: dropped anywhere on the page, or picked.

import { useEffect, useRef, useState } from 'react';
import type { Outcome } from '../dicomweb/store';
import { count, size, visible } from '../ui/format';
import { chosen, dropped } from './picked';
import { useUpload, type Progress, type UploadState } from './useUpload';

const LISTED = 200;

export function Upload({ onStored }: { onStored: () => void }) {
  const upload = useUpload(onStored);
  const over = useDrop(upload);
  const files = useRef<HTMLInputElement>(null);
  const folder = useRef<HTMLInputElement>(null);
  const busy = upload.progress?.running ?? false;

  function take(input: HTMLInputElement) {
    const picked = chosen(input.files);
    input.value = '';
    void upload.start(picked);
  }

  return (
    <>
      <input ref={files} type="file" multiple hidden data-testid="files" onChange={event => take(event.target)} />
      <input ref={folder} type="file" webkitdirectory="" hidden onChange={event => take(event.target)} />
      <button type="button" disabled={busy} onClick={() => files.current?.click()}>Upload files…</button>
      <button type="button" disabled={busy} onClick={() => folder.current?.click()}>Upload a folder…</button>
      {over && <div className="drop-here"><p>Drop files and folders to store them</p></div>}
      {upload.progress && <Report progress={upload.progress} upload={upload} />}
    </>
  );
}

/** Listen for drops on the whole page; true while something is held over it. */
function useDrop(upload: UploadState): boolean {
  const [over, setOver] = useState(false);
  const start = useRef(upload.start);
  start.current = upload.start;

  useEffect(() => {
    let depth = 0;
    const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes('Files') ?? false;
    const enter = (event: DragEvent) => { if (hasFiles(event)) { depth += 1; setOver(true); } };
    const leave = (event: DragEvent) => { if (hasFiles(event)) { depth -= 1; if (depth <= 0) setOver(false); } };
    const hover = (event: DragEvent) => { if (hasFiles(event)) event.preventDefault(); };
    const drop = (event: DragEvent) => {
      if (!hasFiles(event) || !event.dataTransfer) return;
      event.preventDefault();
      depth = 0;
      setOver(false);
      void start.current(dropped(event.dataTransfer));
    };
    const heard = [['dragenter', enter], ['dragleave', leave], ['dragover', hover], ['drop', drop]] as const;
    for (const [name, listener] of heard) addEventListener(name, listener);
    return () => { for (const [name, listener] of heard) removeEventListener(name, listener); };
  }, []);
  return over;
}

function Report({ progress, upload }: { progress: Progress; upload: UploadState }) {
  const { outcomes, running } = progress;
  const tell = (result: Outcome['result']) => outcomes.filter(outcome => outcome.result === result);
  const stored = tell('stored').length + tell('warning').length;
  const troubles = [...tell('failed'), ...tell('warning')];
  return (
    <section className="upload" aria-label="Upload">
      <div className="upload-head">
        <strong role="status">
          {running ? doing(progress) : verdict(stored, tell('failed').length)}
        </strong>
        <span className="muted">{running && !progress.reading && `${size(progress.sentBytes)} of ${size(progress.bytes)}`}</span>
        <span className="spring" />
        {running
          ? <button type="button" className="quiet" onClick={upload.stop}>Stop</button>
          : <button type="button" className="quiet" onClick={upload.close}>Close</button>}
      </div>
      {running && (progress.reading ? <progress /> : <progress max={progress.bytes || 1} value={progress.sentBytes} />)}
      {troubles.length > 0 && (
        <ul>
          {troubles.slice(0, LISTED).map((outcome, index) => (
            <li key={index} className={outcome.result}>
              <span className="word">{outcome.result === 'failed' ? 'not stored' : 'stored, with a note'}</span>
              <bdi className="path" title={visible(outcome.path)}>{visible(outcome.path)}</bdi>
              <span>{outcome.why}</span>
            </li>
          ))}
          {troubles.length > LISTED && <li>and {(troubles.length - LISTED).toLocaleString('en')} more</li>}
        </ul>
      )}
      {!running && stored > 0 && (
        <details>
          <summary>{count(stored, 'file', 'files')} stored</summary>
          <ul>
            {tell('stored').slice(0, LISTED).map((outcome, index) => (
              <li key={index} className="stored">
                <span className="word">stored</span>
                <bdi className="path" title={visible(outcome.path)}>{visible(outcome.path)}</bdi>
              </li>
            ))}
            {stored > LISTED && <li>and {(stored - LISTED).toLocaleString('en')} more</li>}
          </ul>
        </details>
      )}
    </section>
  );
}

function doing({ reading, done, files }: Progress): string {
  if (reading && !files) return 'Reading…';
  return `${reading ? 'Reading' : 'Sending'} ${done.toLocaleString('en')} of ${count(files, 'file', 'files')}${reading ? '…' : ''}`;
}

function verdict(stored: number, failed: number): string {
  if (!stored && !failed) return 'Nothing to send';
  if (!failed) return `${count(stored, 'file', 'files')} stored`;
  if (!stored) return `${count(failed, 'file', 'files')} not stored`;
  return `${count(stored, 'file', 'files')} stored, ${failed.toLocaleString('en')} not`;
}

declare module 'react' {
  interface InputHTMLAttributes<T> {
    webkitdirectory?: string;
  }
}
