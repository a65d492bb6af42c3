// The page of an enrolment link: a person comes with a code and leaves with a certificate whose key was made here.
import { render } from 'preact';
import { EnrolPage } from './page.tsx';

const code = /^#code=([\w-]{1,64})$/.exec(location.hash)?.[1];
// Out of the address bar and the history before anything else happens.
history.replaceState(null, '', location.pathname);
document.body.replaceChildren();
render(<EnrolPage code={code} />, document.body);
