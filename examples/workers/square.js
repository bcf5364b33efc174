// doula run --workers lines node square.js ::: 1 2 3
const lines = require("node:readline").createInterface({ input: process.stdin });

lines.on("line", (line) => {
  const { id, input } = JSON.parse(line);
  const number = Number(input);
  const answer = Number.isInteger(number) ? { id, output: number ** 2 } : { id, error: `no number: ${input}` };
  process.stdout.write(JSON.stringify(answer) + "\n");
});
