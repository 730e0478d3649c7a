// Calls of imapflow's methods, for test_imapflow.py. The first line of stdin has its options, each further one
// {"call": method, "arguments": [...]}; each is answered with {"result": ...} or {"error": ...}. Its events come between
// them as {"event": name, ...}. {"file": path} among the arguments is that file's bytes; a Buffer in a result is
// {"bytes": base64}; a call with "to": path puts a download's bytes there. A call with "wait": false isn't waited for.
'use strict';

globalThis.crypto ??= require('node:crypto').webcrypto; // Debian 12 has Node 18, where it isn't there by itself

const { ImapFlow } = require('imapflow');
const { createWriteStream, readFileSync } = require('node:fs');
const { createInterface } = require('node:readline');
const { pipeline } = require('node:stream/promises');

const say = value => process.stdout.write(JSON.stringify(value, plain) + '\n');

function plain(key, value) {
    if (value instanceof Map) return Object.fromEntries(value);
    if (value instanceof Set) return [...value];
    if (value && value.type === 'Buffer') return { bytes: Buffer.from(value.data).toString('base64') };
    if (typeof value === 'bigint') return Number(value);
    return value;
}

const given = value => (value && value.file ? readFileSync(value.file) : value);

async function answer(client, line) {
    const { call, arguments: values, to } = JSON.parse(line);
    if (call === 'property') return client[values[0]];
    const result = await client[call](...values.map(given));
    if (!to) return result;
    await pipeline(result.content, createWriteStream(to));
    return result.meta;
}

(async () => {
    let client;
    for await (const line of createInterface({ input: process.stdin })) {
        if (!client) {
            const options = JSON.parse(line);
            options.tls.ca = readFileSync(options.tls.ca);
            const log = process.env.IMAPFLOW_LOG ? entry => process.stderr.write(JSON.stringify(entry, plain) + '\n') : () => {};
            client = new ImapFlow({ ...options, logger: { debug: log, info: log, warn: log, error: log } });
            for (const event of ['exists', 'expunge', 'flags', 'error', 'close']) {
                client.on(event, what => say({ event, ...(what instanceof Error ? { text: what.message } : what) }));
            }
            continue;
        }
        try {
            const made = answer(client, line);
            say({ result: JSON.parse(line).wait === false ? null : ((await made) ?? null) });
        } catch (error) {
            say({ error: error.message, response: error.responseText });
        }
    }
})();
