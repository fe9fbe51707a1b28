// The study list by QIDO-RS (PS3.18 10.6): filters to a query, DICOM JSON to rows.

import { ask } from './http';

export interface Filters {
  name: string;
  id: string;
  accession: string;
  description: string;
  modality: string;
  /** As a date field gives them, 2026-11-20; empty means open. */
  from: string;
  to: string;
}

export const NO_FILTERS: Filters = {
  name: '', id: '', accession: '', description: '', modality: '', from: '', to: '',
};

export interface Name {
  alphabetic: string;
  ideographic: string;
  phonetic: string;
}

export interface Study {
  uid: string;
  patientName: Name;
  patientId: string;
  birthDate: string;
  sex: string;
  date: string;
  time: string;
  accession: string;
  description: string;
  modalities: string[];
  series: number | null;
  instances: number | null;
}

export interface Page {
  studies: Study[];
  /** All that match, or null when the server does not say. */
  total: number | null;
}

const WANTED = [
  'StudyDescription', 'ModalitiesInStudy', 'NumberOfStudyRelatedSeries',
  'NumberOfStudyRelatedInstances', 'PatientBirthDate', 'PatientSex', 'AccessionNumber',
];

/** "smith ann" finds SMITH^ANN: words in order, whatever stands between them. */
function contains(text: string): string {
  return `*${text.trim().split(/[\s,^*]+/).filter(Boolean).join('*')}*`;
}

function dateRange(from: string, to: string): string {
  const compact = (date: string) => date.replaceAll('-', '');
  return from || to ? `${compact(from)}-${compact(to)}` : '';
}

/** The query of one page; order is the server's, newest first. */
export function query(filters: Filters, limit: number, offset: number): string {
  const parameters = new URLSearchParams();
  const match = (key: string, value: string) => {
    if (value && value !== '**') parameters.set(key, value);
  };
  if (filters.name.trim()) match('PatientName', contains(filters.name));
  if (filters.id.trim()) match('PatientID', `*${filters.id.trim()}*`);
  if (filters.accession.trim()) match('AccessionNumber', `*${filters.accession.trim()}*`);
  if (filters.description.trim()) match('StudyDescription', contains(filters.description));
  match('ModalitiesInStudy', filters.modality.trim().toUpperCase());
  match('StudyDate', dateRange(filters.from, filters.to));
  parameters.set('includefield', WANTED.join(','));
  parameters.set('limit', String(limit));
  parameters.set('offset', String(offset));
  return parameters.toString();
}

type Attributes = Record<string, { vr?: string; Value?: unknown[] } | undefined>;

function texts(study: Attributes, tag: string): string[] {
  return (study[tag]?.Value ?? []).filter(value => value !== null).map(String);
}

function name(study: Attributes, tag: string): Name {
  const value = study[tag]?.Value?.[0];
  const groups = (value && typeof value === 'object' ? value : {}) as Record<string, unknown>;
  const group = (key: string) => (typeof groups[key] === 'string' ? groups[key] : '');
  return {
    alphabetic: group('Alphabetic'),
    ideographic: group('Ideographic'),
    phonetic: group('Phonetic'),
  };
}

export function readStudy(study: Attributes): Study {
  const text = (tag: string) => texts(study, tag)[0] ?? '';
  const count = (tag: string) => {
    const value = Number.parseInt(text(tag), 10);
    return Number.isNaN(value) ? null : value;
  };
  return {
    uid: text('0020000D'),
    patientName: name(study, '00100010'),
    patientId: text('00100020'),
    birthDate: text('00100030'),
    sex: text('00100040'),
    date: text('00080020'),
    time: text('00080030'),
    accession: text('00080050'),
    description: text('00081030'),
    modalities: texts(study, '00080061').filter(Boolean),
    series: count('00201206'),
    instances: count('00201208'),
  };
}

export async function searchStudies(
  filters: Filters, limit: number, offset: number, signal?: AbortSignal,
): Promise<Page> {
  const response = await ask(`/dicom-web/studies?${query(filters, limit, offset)}`, {
    headers: { Accept: 'application/dicom+json' },
    signal: signal ?? null,
  });
  const found = response.status === 204 ? [] : ((await response.json()) as Attributes[]);
  const header = response.headers.get('X-Total-Count');
  const total = header === null ? null : Number.parseInt(header, 10);
  return { studies: found.map(readStudy), total: Number.isNaN(total) ? null : total };
}

export const viewerAddress = (uid: string) =>
  `/ohif/viewer?StudyInstanceUIDs=${encodeURIComponent(uid)}`;

export const zipAddress = (uid: string) =>
  `/dicom-web/studies/${encodeURIComponent(uid)}?accept=application/zip`;

export const thumbnailAddress = (uid: string) =>
  `/dicom-web/studies/${encodeURIComponent(uid)}/thumbnail?viewport=64,64`;
