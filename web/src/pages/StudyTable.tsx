// The rows of the study list, or why there are none.

import { useState, type KeyboardEvent, type MouseEvent } from 'react';
import type { Session } from '../dicomweb/session';
import { NO_FILTERS, thumbnailAddress, viewerAddress, zipAddress, type Study } from '../dicomweb/studies';
import { dateTime, visible } from '../ui/format';
import { PersonName } from '../ui/PersonName';
import { isFiltered, type StudyList } from './useStudies';

export function StudyTable({ list, session }: { list: StudyList; session: Session }) {
  if (list.studies === null) return null;
  if (list.studies.length === 0) {
    return isFiltered(list.filters)
      ? <NothingFound clear={() => list.setFilters(NO_FILTERS)} />
      : <NothingYet session={session} />;
  }
  return (
    <div className="scroll">
      <table onKeyDown={moveWithArrows}>
        <thead>
          <tr>
            <th className="picture"><span className="hidden">Picture</span></th>
            <th>Patient</th><th>Patient ID</th><th>Born, sex</th><th>Study date</th><th>Modality</th>
            <th>Description</th><th>Accession</th>
            <th className="number">Series</th><th className="number">Images</th>
            <th><span className="hidden">Actions</span></th>
          </tr>
        </thead>
        <tbody>{list.studies.map(study => <Row key={study.uid} study={study} />)}</tbody>
      </table>
    </div>
  );
}

function Row({ study }: { study: Study }) {
  return (
    <tr onClick={openUnlessBusy}>
      <td className="picture"><Picture study={study} /></td>
      <td className="patient">
        <a className="open" href={viewerAddress(study.uid)} title="Open in OHIF"><PersonName name={study.patientName} /></a>
      </td>
      <td><Text>{study.patientId}</Text></td>
      <td className="figures">{dateTime(study.birthDate, '')} {visible(study.sex)}</td>
      <td className="figures">{dateTime(study.date, study.time)}</td>
      <td>{visible(study.modalities.join(' '))}</td>
      <td className="description"><Text>{study.description}</Text></td>
      <td><Text>{study.accession}</Text></td>
      <td className="number">{study.series?.toLocaleString('en')}</td>
      <td className="number">{study.instances?.toLocaleString('en')}</td>
      <td className="actions">
        <a href={viewerAddress(study.uid)} tabIndex={-1}>Open in OHIF</a>
        <a href={zipAddress(study.uid)} download>ZIP</a>
      </td>
    </tr>
  );
}

function Text({ children }: { children: string }) {
  return <bdi title={visible(children) || undefined}>{visible(children)}</bdi>;
}

const WITHOUT_PICTURE = new Set(['AU', 'DOC', 'ECG', 'EPS', 'HD', 'KO', 'PR', 'REG', 'RTPLAN', 'RTRECORD', 'RTSTRUCT', 'SR']);

function Picture({ study }: { study: Study }) {
  const nothingToSee = study.modalities.length > 0 && study.modalities.every(some => WITHOUT_PICTURE.has(some));
  const [none, setNone] = useState(nothingToSee);
  if (none) return <span className="no-picture" />;
  return <img src={thumbnailAddress(study.uid)} alt="" width="36" height="36" loading="lazy" decoding="async" onError={() => setNone(true)} />;
}

/** A click anywhere in a row opens it, unless it selects text or hits a link. */
function openUnlessBusy(event: MouseEvent<HTMLTableRowElement>) {
  if ((event.target as HTMLElement).closest('a') || String(getSelection())) return;
  event.currentTarget.querySelector<HTMLAnchorElement>('a.open')?.click();
}

function moveWithArrows(event: KeyboardEvent<HTMLTableElement>) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const links = [...event.currentTarget.querySelectorAll<HTMLAnchorElement>('a.open')];
  const here = links.findIndex(link => link.closest('tr')?.contains(document.activeElement));
  links[here + step]?.focus();
  event.preventDefault();
}

function NothingFound({ clear }: { clear: () => void }) {
  return (
    <div className="empty">
      <p>No study matches these filters.</p>
      <button type="button" onClick={clear}>Clear filters</button>
    </div>
  );
}

function NothingYet({ session }: { session: Session }) {
  return (
    <div className="empty">
      <h2>No studies yet</h2>
      <p>Send one from a modality, workstation or PACS, or drop files and folders here.</p>
      <dl>
        <dt>AE title</dt><dd><code>{session.aeTitle ?? 'FILMROOM'}</code></dd>
        <dt>Host</dt><dd><code>{location.hostname}</code></dd>
        <dt>Port</dt><dd><code>{session.dimsePort ?? 11112}</code></dd>
      </dl>
      <p className="muted">
        From a command line: <code>storescu -aec {session.aeTitle ?? 'FILMROOM'} {location.hostname} {session.dimsePort ?? 11112} +sd +r FOLDER</code>
      </p>
    </div>
  );
}
