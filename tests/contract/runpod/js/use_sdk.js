// Uses runpod-sdk as its documentation shows; prints what it returned as JSON, on the last line.
// Arguments: base URLs of an endpoint that echoes, of one that streams and of one without workers.
import runpodSdk from "runpod-sdk";

const [echo, stream, idle] = process.argv.slice(2);

const streaming = runpodSdk("local", { baseUrl: `${stream}/v2` }).endpoint("local");
const streamed = await streaming.run({ input: { count: 3 } });

const endpoint = runpodSdk("local", { baseUrl: `${echo}/v2` }).endpoint("local");
const seen = {};
seen.run = await endpoint.run({ input: { seconds: 60 } });
seen.status = await endpoint.status(seen.run.id);
seen.cancel = await endpoint.cancel(seen.run.id);
seen.cancelled = await endpoint.status(seen.run.id);
seen.runSync = await endpoint.runSync({ input: { n: 1 } });
// Outlasts the wait of /runsync: the SDK goes on with /status-sync.
seen.runSyncLong = await endpoint.runSync({ input: { seconds: 2.3 } }, 2000);
seen.health = await endpoint.health();
const waiting = runpodSdk("local", { baseUrl: `${idle}/v2` }).endpoint("local");
await waiting.run({ input: { n: 1 } });
seen.purgeQueue = await waiting.purgeQueue();
seen.stream = [];
for await (const chunk of streaming.stream(streamed.id)) seen.stream.push(chunk);
console.log(JSON.stringify(seen));
