import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, createRouterTransport } from "@connectrpc/connect";
import { expect, test } from "vitest";
import {
  type SubscribeRequest, SubscribeResponseSchema, StreamEventKind, StreamingService,
} from "./gen/ledgerflux/v1/streaming_service_pb";
import { type Connection, Subscription } from "./subscription";

const event = (kind: StreamEventKind, resumeToken = "") =>
  create(SubscribeResponseSchema, { message: { case: "event", value: { kind, resumeToken } } });
const checkpoint = (resumeToken: string) => event(StreamEventKind.CHECKPOINT, resumeToken);
const live = event(StreamEventKind.LIVE);
const notRecovered = event(StreamEventKind.NOT_RECOVERED);

/** What a page asks of a server that gives these answers, one for each connection, and what it says meanwhile. */
async function played(answers: ((request: SubscribeRequest) => AsyncGenerator<ReturnType<typeof checkpoint>>)[]) {
  const starts: string[] = [];
  const states: Connection[] = [];
  const notResumed: string[] = [];
  const keyEnded: string[] = [];
  let finish = () => {};
  const finished = new Promise<void>((resolve) => (finish = resolve));
  const transport = createRouterTransport(({ service }) => {
    service(StreamingService, {
      async *subscribe(request) {
        starts.push(request.start.case === "resumeToken" ? request.start.value : String(request.start.case));
        const answer = answers[starts.length - 1];
        if (!answer) {
          finish();
          await new Promise(() => {});
        }
        yield* answer!(request);
      },
    });
  });
  const subscription = new Subscription(createClient(StreamingService, transport), {
    message: () => {},
    connection: (state) => {
      states.push(state);
      if (state.state === "locked") setTimeout(() => subscription.wake());
    },
    notResumed: (reason) => notResumed.push(reason),
    keyEnded: (reason) => keyEnded.push(reason),
  });
  void subscription.run();
  await finished;
  return { starts, states: states.map((state) => state.state), lives: states.filter((state) => state.state === "live"), notResumed, keyEnded };
}

const [first, resumed, restarted] = [
  { state: "live", resumed: false, again: false }, { state: "live", resumed: true, again: true }, { state: "live", resumed: false, again: true },
];

test("a lost stream goes on from its newest checkpoint", async () => {
  const { starts, states, lives } = await played([
    async function* () {
      yield live;
      yield checkpoint("a");
      yield checkpoint("b");
      throw new ConnectError("gone", Code.Unavailable);
    },
    async function* () {
      yield live;
      yield checkpoint("c");
    },
  ]);
  expect(starts).toEqual(["snapshot", "b", "c"]);
  expect(states).toEqual(["connecting", "live", "waiting", "connecting", "live", "waiting", "connecting"]);
  expect(lives).toEqual([first, resumed]);
});

test("a stream that could not give what was missed is not resumed, and the one after it may be", async () => {
  const { starts, lives } = await played([
    async function* () {
      yield live;
      yield checkpoint("of another history");
    },
    async function* () {
      yield notRecovered;
      yield live;
      yield checkpoint("b");
    },
    async function* () {
      yield live;
      // The gateway itself has missed something: that is told, and is no matter of the connection after it.
      yield notRecovered;
      yield checkpoint("c");
    },
    async function* () {
      yield live;
    },
  ]);
  expect(starts).toEqual(["snapshot", "of another history", "b", "c", "c"]);
  expect(lives).toEqual([first, restarted, resumed, resumed]);
});

test("what a connection could not give is not forgotten when it ends before it is live", async () => {
  const { starts, states, lives } = await played([
    async function* () {
      yield live;
      yield checkpoint("a");
    },
    async function* () {
      yield notRecovered;
      yield checkpoint("b");
    },
    async function* () {
      yield live;
    },
  ]);
  expect(starts).toEqual(["snapshot", "a", "b", "b"]);
  expect(states.filter((state) => state !== "connecting")).toEqual(["live", "waiting", "waiting", "live", "waiting"]);
  expect(lives).toEqual([first, restarted]);
});

test("a token that is refused is told, and the newest state is asked for at once", async () => {
  const { starts, states, notResumed } = await played([
    async function* () {
      yield checkpoint("old");
    },
    async function* () {
      throw new ConnectError("another epoch", Code.InvalidArgument);
    },
  ]);
  expect(starts).toEqual(["snapshot", "old", "snapshot"]);
  expect(states.slice(-2)).toEqual(["connecting", "connecting"]);
  expect(notResumed).toEqual(["another epoch"]);
});

test("a server that wants a key is asked again when there is one", async () => {
  const { states } = await played([
    async function* () {
      throw new ConnectError("no key", Code.Unauthenticated);
    },
  ]);
  expect(states).toEqual(["connecting", "locked", "connecting"]);
});

test("a key that ends in the middle is told, and what it opened is not resumed with another", async () => {
  const { starts, states, keyEnded } = await played([
    async function* () {
      yield live;
      yield checkpoint("of the key before");
      throw new ConnectError("revoked", Code.Unauthenticated);
    },
    async function* () {
      throw new ConnectError("nobody has this key", Code.Unauthenticated);
    },
  ]);
  expect(starts).toEqual(["snapshot", "snapshot", "snapshot"]);
  expect(states).toEqual(["connecting", "live", "connecting", "locked", "connecting"]);
  expect(keyEnded).toEqual(["revoked"]);
});

test("a page that may not call is no matter of keys", async () => {
  const { states } = await played([
    async function* () {
      throw new ConnectError("pages of this origin may not call", Code.PermissionDenied);
    },
  ]);
  expect(states).toEqual(["connecting", "waiting", "connecting"]);
});
