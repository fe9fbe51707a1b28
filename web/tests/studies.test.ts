import { describe, expect, it } from 'vitest';
import { NO_FILTERS, query, readStudy } from '../src/dicomweb/studies';
import { dateTime, nameParts, size, visible } from '../src/ui/format';
import { nextPage } from '../src/dicomweb/session';
import { words } from '../src/dicomweb/http';

const asked = (filters: Partial<typeof NO_FILTERS>) =>
  new URLSearchParams(query({ ...NO_FILTERS, ...filters }, 50, 0));

describe('a query', () => {
  it('finds words of a name in order, whatever stands between them', () => {
    expect(asked({ name: ' smith,  ann ' }).get('PatientName')).toBe('*smith*ann*');
  });
  it('leaves out what is not asked', () => {
    expect([...asked({ name: '  ', description: '*' }).keys()]).toEqual(['includefield', 'limit', 'offset']);
  });
  it('leaves a date range open where it is open', () => {
    expect(asked({ from: '2026-11-20' }).get('StudyDate')).toBe('20261120-');
    expect(asked({ to: '2026-11-20' }).get('StudyDate')).toBe('-20261120');
  });
});

describe('a study', () => {
  it('may lack everything but its UID', () => {
    const study = readStudy({ '0020000D': { vr: 'UI', Value: ['1.2'] }, '00080061': { vr: 'CS' } });
    expect(study).toMatchObject({ uid: '1.2', modalities: [], series: null, patientName: { alphabetic: '' } });
  });
  it('keeps all three groups of a name', () => {
    const value = { Alphabetic: 'Yamada^Tarou', Ideographic: '山田^太郎', Phonetic: 'やまだ^たろう' };
    expect(readStudy({ '00100010': { vr: 'PN', Value: [value] } }).patientName).toEqual({
      alphabetic: 'Yamada^Tarou', ideographic: '山田^太郎', phonetic: 'やまだ^たろう',
    });
  });
  it('counts numbers also when they come as text', () => {
    expect(readStudy({ '00201208': { vr: 'IS', Value: ['251'] } }).instances).toBe(251);
  });
});

describe('what is written', () => {
  it('shows dates by year, month, day and leaves nonsense as it is', () => {
    expect(dateTime('20261120', '101500.12')).toBe('2026-11-20 10:15');
    expect(dateTime('yesterday', '')).toBe('yesterday');
    expect(dateTime('', '101500')).toBe('');
  });
  it('splits a name at its carets', () => {
    expect(nameParts('PHANTOM^Chest^^Dr.')).toEqual({ family: 'PHANTOM', rest: 'Dr. Chest' });
  });
  it('shows characters that hide or turn text as boxes', () => {
    expect(visible('a\u202eb\u0000c\nd')).toBe('a□b□c□d');
  });
  it('rounds sizes', () => {
    expect([size(12), size(1234), size(1_234_567_890)]).toEqual(['12\u00a0bytes', '1.2\u00a0kB', '1.2\u00a0GB']);
  });
});

describe('after signing in', () => {
  it.each(['//evil.example', '/\\evil.example', 'https://evil.example/', 'javascript:alert(1)', '/\t/evil.example'])(
    'nobody is sent to %s', wanted => {
      expect(nextPage(`?next=${encodeURIComponent(wanted)}`)).toBe('/');
    },
  );
  it('one comes back to where one was', () => {
    expect(nextPage(`?next=${encodeURIComponent('/ohif/viewer?StudyInstanceUIDs=1.2')}`))
      .toBe('/ohif/viewer?StudyInstanceUIDs=1.2');
  });
});

describe('a refusal', () => {
  it('is told in the words of the server, never as a page', () => {
    expect(words('{"title":"Bad","detail":"Say which study."}')).toBe('Say which study.');
    expect(words('no such study')).toBe('no such study');
    expect(words('<html>Proxy error</html>')).toBe('');
  });
});
