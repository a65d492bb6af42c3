// npm start [-- demo | -- up options]: a gate on 127.0.0.1:8443, or the demonstration.
'use strict';
const { join } = require('path');
const { ensure, root, runNode } = require('./ensure.cjs');

ensure();
const rest = process.argv.slice(2);
const verb = rest[0] && !rest[0].startsWith('-') ? [] : ['up'];
runNode([join(root, 'src/main.ts'), ...verb, ...rest], { env: { SEKISHO_COMMAND: './sekisho' } });
