// A one-time link with which a person fetches a certificate: asked for here, handed over by whoever asked.
import { useState } from 'preact/hooks';
import { type AnswerOf, call } from '../api.ts';
import { Copy, Dialog, Field, Form } from '../parts.tsx';
import { t, when } from '../text.ts';

export type Link = AnswerOf<'cert.enroll'>;

export function LinkDialog({ link, close }: { link: Link; close: () => void }) {
  return (
    <Dialog title={link.user} close={close}>
      <p>
        {t('enrolText')} {when(link.until)}
      </p>
      <Copy text={link.link} />
      <div class="tools">
        <button type="button" onClick={close}>
          {t('close')}
        </button>
      </div>
    </Dialog>
  );
}

export function EnrolDialog({ close }: { close: () => void }) {
  const [link, setLink] = useState<Link>();
  if (link) return <LinkDialog link={link} close={close} />;
  return (
    <Dialog title={t('enrolTitle')} close={close}>
      <Form
        label={t('enrolLink')}
        submit={async ({ name = '', ou = '', for: life = '' }) => {
          const body = { name, ou: ou === '' ? [] : [ou], for: life };
          setLink(await call('cert.enroll', { body }));
        }}
      >
        <Field label={t('userName')} name="name" required autofocus />
        <Field label={t('unit')} name="ou" />
        <Field label={t('enrolFor')} name="for" value="1d" pattern="[0-9]+[mhd]" required />
      </Form>
      <button type="button" class="plain" onClick={close}>
        {t('cancel')}
      </button>
    </Dialog>
  );
}
