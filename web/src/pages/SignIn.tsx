// Sign in with a user name and a password.

import { useEffect, useRef, useState, type FormEvent, type KeyboardEvent } from 'react';
import { currentSession, nextPage, signIn } from '../dicomweb/session';
import { Mark } from '../ui/Mark';

export function SignIn() {
  const [shown, setShown] = useState(false);
  const [capsLock, setCapsLock] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState('');
  const password = useRef<HTMLInputElement>(null);
  const onwards = () => location.replace(nextPage(location.search));

  useEffect(() => {
    document.title = 'Sign in - filmroom';
    currentSession().then(onwards, () => undefined);
  }, []);

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const fields = new FormData(event.currentTarget);
    setBusy(true);
    setProblem('');
    try {
      await signIn(String(fields.get('user')), String(fields.get('password')));
      onwards();
    } catch (error) {
      setBusy(false);
      setProblem(error instanceof Error ? error.message : String(error));
      password.current?.select();
    }
  }

  const watchCaps = (event: KeyboardEvent) => setCapsLock(event.getModifierState('CapsLock'));

  return (
    <main className="sign-in">
      <h1><Mark /></h1>
      <form onSubmit={submit} onKeyDown={watchCaps} onKeyUp={watchCaps}>
        <label>
          User
          <input name="user" autoComplete="username" autoCapitalize="none" spellCheck={false} autoFocus required />
        </label>
        <label>
          Password
          <span className="with-button">
            <input
              ref={password} name="password" required autoComplete="current-password"
              type={shown ? 'text' : 'password'} spellCheck={false}
            />
            <button type="button" className="quiet" aria-pressed={shown} onClick={() => setShown(!shown)}>
              {shown ? 'Hide' : 'Show'}
            </button>
          </span>
        </label>
        <p className="note" aria-live="polite">{capsLock && 'Caps Lock is on'}</p>
        <button type="submit" className="primary" disabled={busy}>{busy ? 'Signing in…' : 'Sign in'}</button>
        {problem && <p className="problem" role="alert">{problem}</p>}
      </form>
    </main>
  );
}
