// Which page an address means.

import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { SignIn } from './pages/SignIn';
import { Studies } from './pages/Studies';
import './ui/style.css';

const page = location.pathname === '/login' ? <SignIn /> : <Studies />;
createRoot(document.getElementById('root')!).render(<StrictMode>{page}</StrictMode>);
