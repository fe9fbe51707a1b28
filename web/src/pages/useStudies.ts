// What the study list shows: the filters, one page of studies, and how fresh it is.

import { useCallback, useEffect, useRef, useState } from 'react';
import { ServerError } from '../dicomweb/http';
import { goToSignIn } from '../dicomweb/session';
import { NO_FILTERS, searchStudies, type Filters, type Study } from '../dicomweb/studies';

export const PAGE = 50;
const TYPING_MS = 200;
const SLOW_MS = 300;
const REFRESH_MS = 15_000;

export interface StudyList {
  filters: Filters;
  setFilters: (filters: Filters) => void;
  offset: number;
  setOffset: (offset: number) => void;
  /** null until the first answer. */
  studies: Study[] | null;
  total: number | null;
  slow: boolean;
  problem: string;
  summary: string;
  refresh: () => void;
}

interface Place {
  filters: Filters;
  offset: number;
}

// In the history entry, not in the address: names and IDs must not end in logs and bookmarks.
function placeLeft(): Place {
  const left = history.state as Partial<Place> | null;
  return { filters: { ...NO_FILTERS, ...left?.filters }, offset: left?.offset ?? 0 };
}

export function isFiltered(filters: Filters): boolean {
  return Object.values(filters).some(value => value.trim() !== '');
}

export function useStudies(): StudyList {
  const [place, setPlace] = useState(placeLeft);
  const [studies, setStudies] = useState<Study[] | null>(null);
  const [total, setTotal] = useState<number | null>(null);
  const [slow, setSlow] = useState(false);
  const [problem, setProblem] = useState('');
  const running = useRef<AbortController | null>(null);

  const load = useCallback(async (from: Place, quiet: boolean) => {
    running.current?.abort();
    const mine = new AbortController();
    running.current = mine;
    const late = setTimeout(() => setSlow(!quiet), SLOW_MS);
    try {
      const page = await searchStudies(from.filters, PAGE, from.offset, mine.signal);
      if (mine.signal.aborted) return;
      setStudies(page.studies);
      setTotal(page.total);
      setProblem('');
    } catch (error) {
      if (mine.signal.aborted) return;
      if (error instanceof ServerError && error.status === 401) goToSignIn();
      else setProblem(error instanceof Error ? error.message : String(error));
    } finally {
      clearTimeout(late);
      if (running.current === mine) setSlow(false);
    }
  }, []);

  useEffect(() => {
    history.replaceState(place, '');
    const typed = setTimeout(() => void load(place, false), studies === null ? 0 : TYPING_MS);
    const again = setInterval(() => {
      if (document.visibilityState === 'visible' && scrollY === 0) void load(place, true);
    }, REFRESH_MS);
    return () => {
      clearTimeout(typed);
      clearInterval(again);
    };
    // `studies` decides only the first delay; a new page of them is no reason to ask again.
  }, [place, load]);

  const filtered = isFiltered(place.filters);
  const known = total?.toLocaleString('en');
  return {
    ...place,
    setFilters: filters => setPlace({ filters, offset: 0 }),
    setOffset: offset => {
      setPlace({ ...place, offset });
      scrollTo(0, 0);
    },
    studies, total, slow, problem,
    summary: !total && !filtered ? '' : filtered ? `${known} found` : `${known} in all, newest first`,
    refresh: () => void load(place, false),
  };
}
