// The row of search fields above the list.

import { useEffect, useRef } from 'react';
import { NO_FILTERS, type Filters } from '../dicomweb/studies';
import { isFiltered } from './useStudies';

const MODALITIES = [
  'CR', 'CT', 'DX', 'ECG', 'ES', 'IO', 'MG', 'MR', 'NM', 'OCT', 'OP', 'OT', 'PT', 'PX', 'RF',
  'RTDOSE', 'RTPLAN', 'RTSTRUCT', 'SC', 'SEG', 'SM', 'SR', 'US', 'XA', 'XC',
];

interface Props {
  filters: Filters;
  onChange: (filters: Filters) => void;
}

export function Filter({ filters, onChange }: Props) {
  const first = useRef<HTMLInputElement>(null);

  useEffect(() => {
    const slash = (event: KeyboardEvent) => {
      if (event.key !== '/' || (event.target as HTMLElement).closest('input, select')) return;
      event.preventDefault();
      first.current?.focus();
    };
    addEventListener('keydown', slash);
    return () => removeEventListener('keydown', slash);
  }, []);

  const field = (key: keyof Filters) => ({
    name: key,
    value: filters[key],
    onChange: (event: { target: { value: string } }) => onChange({ ...filters, [key]: event.target.value }),
  });

  return (
    <form className="filter" role="search" onSubmit={event => event.preventDefault()} autoComplete="off">
      <label>Patient name<input ref={first} type="search" title="Press / to come here" {...field('name')} /></label>
      <label>Patient ID<input type="search" {...field('id')} /></label>
      <label>Accession number<input type="search" {...field('accession')} /></label>
      <label>Description<input type="search" {...field('description')} /></label>
      <label className="narrow">
        Modality
        <select {...field('modality')}>
          <option value="">any</option>
          {MODALITIES.map(modality => <option key={modality}>{modality}</option>)}
        </select>
      </label>
      <label className="narrow">From<input type="date" {...field('from')} /></label>
      <label className="narrow">To<input type="date" {...field('to')} /></label>
      <button type="button" disabled={!isFiltered(filters)} onClick={() => onChange(NO_FILTERS)}>Clear</button>
    </form>
  );
}
