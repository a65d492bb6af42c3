// The console: a client of the public API like any other.
import { render } from 'preact';
import { App } from './app.tsx';

render(<App />, document.body);
