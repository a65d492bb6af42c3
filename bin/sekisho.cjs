#!/usr/bin/env node
// The command line: installs what a clone is missing, finds the right Node, runs main.
'use strict';
const { join } = require('path');
const { ensure, isClone, root, runNode } = require('./ensure.cjs');

ensure();
runNode([join(root, isClone ? 'src/main.ts' : 'dist/main.js'), ...process.argv.slice(2)]);
