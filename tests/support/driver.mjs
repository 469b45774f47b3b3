// Evaluates the expressions that come in, one JSON text a line, and answers each with its value: a page without a browser.
import { createInterface } from "node:readline";

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = { value: await (0, eval)(JSON.parse(line)) };
  } catch (error) {
    answer = { error: String(error?.stack ?? error) };
  }
  console.log(JSON.stringify(answer));
}
process.exit(0);
