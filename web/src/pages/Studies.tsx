// The study list: search, open, download, send in.

import { useEffect, useState } from 'react';
import { currentSession, goToSignIn, signOut, type Session } from '../dicomweb/session';
import { ServerError } from '../dicomweb/http';
import { Mark } from '../ui/Mark';
import { Filter } from './Filter';
import { Upload } from './Upload';
import { StudyTable } from './StudyTable';
import { PAGE, useStudies } from './useStudies';

const NOWHERE: Session = { user: '', aeTitle: null, dimsePort: null };

export function Studies() {
  const [session, setSession] = useState(NOWHERE);
  const list = useStudies();

  useEffect(() => {
    document.title = 'Studies - filmroom';
    currentSession().then(setSession, error => {
      if (error instanceof ServerError && error.status === 401) goToSignIn();
    });
  }, []);

  async function leave() {
    await signOut().catch(() => undefined);
    location.assign('/login');
  }

  return (
    <>
      <header className="bar">
        <Mark />
        <span className="spring" />
        <a href="/docs/">Manual</a>
        {session.user && <span className="who">{session.user}</span>}
        <button type="button" className="quiet" onClick={leave}>Sign out</button>
      </header>
      <main className="studies">
        <div className="heading">
          <h1>Studies</h1>
          <span className="muted" role="status">{list.summary}</span>
          <span className="spring" />
          <Upload onStored={list.refresh} />
        </div>
        <Filter filters={list.filters} onChange={list.setFilters} />
        <div className={list.slow ? 'progress-line busy' : 'progress-line'} />
        {list.problem && (
          <p className="problem" role="alert">
            {list.problem} <button type="button" className="quiet" onClick={list.refresh}>Try again</button>
          </p>
        )}
        <StudyTable list={list} session={session} />
        <Pager offset={list.offset} total={list.total} shown={list.studies?.length ?? 0} onMove={list.setOffset} />
      </main>
    </>
  );
}

interface PagerProps {
  offset: number;
  total: number | null;
  shown: number;
  onMove: (offset: number) => void;
}

function Pager({ offset, total, shown, onMove }: PagerProps) {
  const more = total === null ? shown === PAGE : offset + shown < total;
  if (offset === 0 && !more) return null;
  return (
    <nav className="pager" aria-label="Pages">
      <button type="button" disabled={offset === 0} onClick={() => onMove(Math.max(0, offset - PAGE))}>Newer</button>
      <span className="muted">
        {shown ? `${offset + 1}–${offset + shown}` : 'none'}{total !== null && ` of ${total.toLocaleString('en')}`}
      </span>
      <button type="button" disabled={!more} onClick={() => onMove(offset + PAGE)}>Older</button>
    </nav>
  );
}
