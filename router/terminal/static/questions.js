// Programs ask their terminal things: where its cursor is, what it is, which colours it has. The answer is typed to them. Old output that
// is shown again, and output that several pages show, must not be answered (again).

const CSI = [
  { final: "c" }, // primary device attributes
  { prefix: ">", final: "c" },
  { prefix: "=", final: "c" },
  { final: "n" }, // status, cursor position
  { prefix: "?", final: "n" },
  { intermediates: "$", final: "p" }, // modes
  { prefix: "?", intermediates: "$", final: "p" },
  { prefix: ">", final: "q" }, // version
  { final: "t" }, // window
];

const DCS = [
  { intermediates: "$", final: "q" }, // settings
  { intermediates: "+", final: "q" }, // terminfo
];

const COLOURS = [4, 10, 11, 12];

/** Leave questions unanswered unless `mayAnswer()`. */
export function answerOnlyWhen(terminal, mayAnswer) {
  const swallow = () => !mayAnswer();
  for (const id of CSI) terminal.parser.registerCsiHandler(id, swallow);
  for (const id of DCS) terminal.parser.registerDcsHandler(id, swallow);
  for (const id of COLOURS) terminal.parser.registerOscHandler(id, (text) => text.includes("?") && swallow());
}
