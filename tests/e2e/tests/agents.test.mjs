// Workers of the stock Agents SDK: they get jobs, their agents are heard, and jobs end and are handed on.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { AccessToken, AgentDispatchClient } from "livekit-server-sdk";
import { startAgents } from "../lib/agents.mjs";
import { startApi } from "../lib/backend.mjs";
import { prepareAgents, preparePython } from "../lib/python.mjs";
import { freshRoom, openStage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const TONE = 700;
const AGENT = 4;
const [RUNNING, SUCCESS] = [1, 2];
// A worker that was killed is missed when its agent's media stops, and its agent's place is then kept for a while.
const FAILOVER_MS = 90_000;

let stage;
let dispatches;
const workers = [];

before(async () => {
  await Promise.all([preparePython(), prepareAgents()]);
  stage = await openStage("agents");
  dispatches = new AgentDispatchClient(stage.server.url, "devkey", "secret");
});

after(async () => {
  await Promise.all(workers.map((worker) => worker.stop()));
  await stage?.close();
});

async function worker(options) {
  const started = await startAgents({ url: stage.server.socketUrl, tone: TONE, ...options });
  workers.push(started);
  return started;
}

const heardAs = (job, tone = TONE) => ({ identity: job.identity, look: { tone } });
const inRoom = (room) => stage.server.api.listParticipants(room).then((all) => all.filter(({ kind }) => kind === AGENT).map(({ identity }) => identity));
const end = (room) => stage.server.api.sendData(room, new TextEncoder().encode('{"end":"now"}'), 0, {});
const states = async (room, id) => (await dispatches.listDispatch(room)).find((dispatch) => dispatch.id === id)?.state.jobs.map(({ state }) => state.status) ?? [];

test("agents: a worker without a name gets every room's job, its agent is heard, and ends it by itself", async () => {
  const unnamed = await worker({});
  const room = freshRoom("agents");
  const ada = await stage.person(stage.chromium, "ada");
  await ada.join(room);
  const job = await unnamed.job((job) => job.room === room);
  assert.deepEqual([job.about, job.metadata, job.agent], [null, "", ""]);
  await ada.hears(heardAs(job));
  assert.deepEqual(await inRoom(room), [job.identity]);
  assert.deepEqual(await states(room, job.dispatch), [RUNNING]);
  await end(room);
  await unnamed.left(job);
  await until("the job to be over", () => states(room, job.dispatch), ([status]) => status === SUCCESS);
  await until("the agent to be gone", () => inRoom(room), (agents) => agents.length === 0);
  assert.equal(unnamed.jobs().filter((job) => job.room === room).length, 1, "what is over is not done again");
  await ada.close();
  await workers.splice(workers.indexOf(unnamed), 1)[0].stop();
});

test("agents: a named agent comes by explicit dispatch of both server SDKs, and goes with it", async () => {
  const room = freshRoom("dispatch");
  // Before there is a worker, and before there is the room.
  const early = await dispatches.createDispatch(room, "waiter", { metadata: "from node" });
  assert.deepEqual(await states(room, early.id), []);
  const waiter = await worker({ name: "waiter" });
  const first = await waiter.job((job) => job.dispatch === early.id);
  assert.deepEqual([first.room, first.metadata, first.agent], [room, "from node", "waiter"]);
  const api = startApi(stage.server.url);
  try {
    const fields = { agentName: "waiter", room, metadata: "from python", attributes: { table: "7" } };
    const made = await api.callOf("agent_dispatch", "create_dispatch", { message: "CreateAgentDispatchRequest", fields });
    const second = await waiter.job((job) => job.dispatch === made.id);
    assert.deepEqual([second.metadata, second.attributes], ["from python", { table: "7" }]);
    await until("both agents", () => inRoom(room), (agents) => agents.length === 2);
    const listed = await api.callOf("agent_dispatch", "list_dispatch", { values: [room] });
    assert.deepEqual(listed.filter(({ agentName }) => agentName).map(({ id }) => id), [early.id, made.id]);
    await api.callOf("agent_dispatch", "delete_dispatch", { values: [made.id, room] });
    await waiter.left(second);
    await until("the first alone", () => inRoom(room), (agents) => agents.length === 1 && agents[0] === first.identity);
  } finally {
    await api.stop();
  }
  await dispatches.deleteDispatch(early.id, room);
  await waiter.left(first);
  await until("nobody", () => inRoom(room), (agents) => agents.length === 0);
  await assert.rejects(dispatches.deleteDispatch(early.id, room), /dispatch/);
});

test("agents: a token's room configuration orders an agent for each publisher", async () => {
  const reporter = await worker({ name: "reporter", kind: "publisher" });
  const room = freshRoom("publisher");
  const bob = await stage.person(stage.chromium, "bob");
  const token = new AccessToken("devkey", "secret", { identity: "bob" });
  token.addGrant({ room, roomJoin: true });
  token.roomConfig = { agents: [{ agentName: "reporter", metadata: "m" }] };
  await bob.do("join", { url: stage.server.socketUrl, token: await token.toJwt(), single: true });
  assert.deepEqual(reporter.jobs(), [], "nobody publishes");
  await bob.publish();
  const job = await reporter.job((job) => job.room === room);
  assert.deepEqual([job.about, job.metadata], ["bob", "m"]);
  await bob.hears(heardAs(job));
  await bob.close();
});

test("agents: the job of a worker that is killed goes to another", async () => {
  const room = freshRoom("killed");
  const both = [await worker({ name: "guard", tone: TONE }), await worker({ name: "guard", tone: TONE + 200 })];
  const ada = await stage.person(stage.chromium, "ada");
  await ada.join(room);
  const made = await dispatches.createDispatch(room, "guard");
  const [job, first] = await Promise.race(both.map(async (worker, index) => [await worker.job((job) => job.room === room), index]));
  await ada.hears(heardAs(job, TONE + 200 * first));
  const killed = Date.now();
  both[first].kill();
  const again = await both[1 - first].job((job) => job.room === room, FAILOVER_MS);
  assert.deepEqual([again.id, again.dispatch], [job.id, made.id]);
  console.log(`the other worker's agent was there ${((Date.now() - killed) / 1000).toFixed(1)} s later`);
  await ada.hears(heardAs(again, TONE + 200 * (1 - first)));
  assert.deepEqual(await states(room, made.id), [RUNNING]);
  await ada.close();
});
