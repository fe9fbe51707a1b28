import { describe, expect, it } from 'vitest';
import { kindOf } from '../src/dicomweb/part10';
import { batches, multipart, outcomes, readAnswer, reasonText, type Outgoing } from '../src/dicomweb/store';

const outgoing = (path: string, sopInstanceUid: string, bytes = 3): Outgoing => ({
  path, sopInstanceUid, file: new Blob([new Uint8Array(bytes)]),
});

function element(number: number, vr: string, value: string): number[] {
  const bytes = [...value].map(letter => letter.charCodeAt(0));
  const length = vr === 'OB' ? [0, 0, bytes.length, 0, 0, 0] : [bytes.length, 0];
  return [2, 0, number, 0, ...[...vr].map(letter => letter.charCodeAt(0)), ...length, ...bytes];
}

function part10(...elements: number[][]): Uint8Array {
  const magic = [...'DICM'].map(letter => letter.charCodeAt(0));
  return new Uint8Array([...new Array<number>(128).fill(0), ...magic, ...elements.flat()]);
}

describe('the beginning of a file', () => {
  it('says which instance it holds', () => {
    const head = part10(element(1, 'OB', '\0\x01'), element(2, 'UI', '1.2.840\0'), element(3, 'UI', '1.2.3.4\0'));
    expect(kindOf(head)).toEqual({ is: 'instance', sopInstanceUid: '1.2.3.4' });
  });
  it('gives a DICOMDIR away', () => {
    expect(kindOf(part10(element(2, 'UI', '1.2.840.10008.1.3.10')))).toEqual({ is: 'directory' });
  });
  it.each([[''], ['PNG'], ['%PDF-1.7 and so on']])('may be no DICOM at all: %s', text => {
    expect(kindOf(new TextEncoder().encode(text))).toEqual({ is: 'unknown' });
  });
  it('may be cut or lie about its lengths', () => {
    const whole = part10(element(2, 'UI', '1.2.840\0'), element(3, 'UI', '1.2.3.4\0'));
    for (let end = 0; end <= whole.length; end++) kindOf(whole.subarray(0, end));
    expect(kindOf(part10([2, 0, 3, 0, 85, 73, 255, 255]))).toEqual({ is: 'instance', sopInstanceUid: '' });
  });
});

describe('a batch', () => {
  it('is bounded in files and bytes, and a large file goes alone', () => {
    const large = outgoing('large', '9', 33 * 1024 * 1024);
    const many = Array.from({ length: 60 }, (_, index) => outgoing(`${index}`, `${index}`));
    expect(batches([...many, large]).map(batch => batch.length)).toEqual([25, 25, 10, 1]);
    expect(batches([])).toEqual([]);
  });
  it('is written as multipart/related', async () => {
    const body = await multipart([outgoing('a', '1')], 'B').text();
    expect(body).toBe('--B\r\nContent-Type: application/dicom\r\n\r\n\0\0\0\r\n--B--\r\n');
  });
});

describe('the outcome', () => {
  const files = [outgoing('a', '1.1'), outgoing('b', '1.2'), outgoing('c', '')];

  it('is told for each file by its UID', () => {
    const answer = {
      '00081199': { Value: [{ '00081155': { Value: ['1.1'] } }] },
      '00081198': {
        Value: [
          { '00081155': { Value: ['1.2'] }, '00081197': { Value: [0x0111] } },
          { '00081197': { Value: [0xc000] } },
        ],
      },
    };
    expect(outcomes(files, answer)).toEqual([
      { path: 'a', result: 'stored', why: '' },
      { path: 'b', result: 'failed', why: 'already held, with other content' },
      { path: 'c', result: 'failed', why: 'not readable as DICOM' },
    ]);
  });
  it('is a failure for a file the server does not speak of', () => {
    expect(outcomes([outgoing('a', '1.1')], { '00081199': { Value: [] } })[0]!.result).toBe('failed');
  });
  it('keeps a warning', () => {
    const answer = { '00081199': { Value: [{ '00081155': { Value: ['1.1'] }, '00081196': { Value: [0xb000] } }] } };
    expect(outcomes([outgoing('a', '1.1')], answer)[0]!.result).toBe('warning');
  });
  it('is told when nothing was stored, as well', () => {
    const body = JSON.stringify({ '00081198': { Value: [{ '00081197': { Value: [0xc000] } }] } });
    expect(readAnswer(body, [outgoing('a', '1.1')])![0]!.why).toBe('not readable as DICOM');
  });
  it.each([['{"detail": "sign in first"}'], ['null'], ['[]'], ['<html>'], ['']])('is not looked for in %s', body => {
    expect(readAnswer(body, files)).toBeNull();
  });
  it('has words for every reason that our server gives', () => {
    for (const code of [0x0110, 0x0122, 0x0124, 0xa700, 0xa900, 0xb000, 0xb00e, 0xc000]) {
      expect(reasonText(code)).not.toContain('refused it');
    }
  });
});
