import { expect, test } from "vitest";
import { SoftpromptError } from "../base/errors.js";
import { type ChatTemplate, renderEach } from "../text/chat-template.js";
import { chatWriter, type Render } from "./chat.js";
import type { ChatMessage } from "./protocol.js";

/** As Mistral's: users and assistants in turn, and no system. */
const template: ChatTemplate = {
  text: `{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}<{{ m.role }}>{{ m.content }}{% endfor %}`,
  where: "/home/someone/model/chat_template.jinja",
  tokens: {},
};
const chat = (...roles: ChatMessage["role"][]): ChatMessage[] => roles.map((role) => ({ role, content: "hi" }));
const turns = (n: number) =>
  chat(...Array.from({ length: n }, (_, i) => (i % 2 === 0 ? ("user" as const) : ("assistant" as const))));

/** Counts processes. */
function counted(render: Render = renderEach) {
  const sizes: number[] = [];
  let [running, most] = [0, 0];
  const counting: Render = async (...asked) => {
    sizes.push(asked[1].length);
    most = Math.max(most, ++running);
    try {
      return await render(...asked);
    } finally {
      running--;
    }
  };
  return { counting, sizes, most: () => most };
}

test("roles that the template refuses are the request's fault, in the template's words, and asked once", async () => {
  const { counting, sizes } = counted();
  const write = chatWriter(template, counting);
  for (let i = 0; i < 3; i++) {
    const error = await write(chat("user", "user")).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ kind: "data", parts: { where: "messages", got: "roles must alternate" } });
    expect(String(error)).not.toContain("/home");
  }
  expect(sizes).toEqual([1]);
  expect((await write(turns(3))).input).toBe("<user>hi<assistant>hi<user>hi");
});

test("many new orders of roles at once run in two processes at most, those that wait together; one refused harms none", async () => {
  const { counting, sizes, most } = counted();
  const write = chatWriter(template, counting);
  const answers = await Promise.allSettled(
    Array.from({ length: 12 }, (_, i) => write(i === 5 ? chat("system") : turns(i + 1))),
  );
  expect(answers.map(({ status }) => status === "fulfilled")).toEqual(answers.map((_, i) => i !== 5));
  expect(most()).toBe(2);
  expect(sizes).toEqual([1, 1, 8, 2]);
});

test("a process that fails for several fails for the one that is the cause, without a path; it may be asked again", async () => {
  const { counting, sizes } = counted(async (of, conversations) => {
    if (conversations.some(({ messages }) => messages.length === 4))
      throw new SoftpromptError("checkpoint", "the chat template cannot be used", { where: of.where, got: "too slow" });
    return conversations.map(({ messages }) => ({ text: messages.map(({ content }) => content).join("") }));
  });
  const write = chatWriter(template, counting);
  const answers = await Promise.allSettled([1, 2, 3, 4, 5].map((n) => write(turns(n))));
  expect(answers.map(({ status }) => status)).toEqual(
    [..."11101"].map((one) => (one === "1" ? "fulfilled" : "rejected")),
  );
  const [failed] = answers.flatMap((one) => (one.status === "rejected" ? [one.reason as Error] : []));
  expect(failed!.message).toMatch(/^the model's chat template: .*\n {2}got: "too slow"$/);
  const before = sizes.length;
  await expect(write(turns(4))).rejects.toThrow("too slow");
  expect(sizes.length).toBe(before + 1);
});
