// Times an ONNX model: node onnx_session.mjs MODEL.onnx ITEMS TOKENS VOCABULARY THREADS RUNS; prints milliseconds, the median of the runs.
//
// Called by gpt2_onnx.py, in a folder that has onnxruntime-node.
import { createRequire } from 'node:module';
import { performance } from 'node:perf_hooks';

const ort = createRequire(`${process.cwd()}/`)('onnxruntime-node');
const [model, items, tokens, vocabulary, threads, runs] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const session = await ort.InferenceSession.create(model, { intraOpNumThreads: threads, interOpNumThreads: 1, graphOptimizationLevel: 'all' });
const ids = BigInt64Array.from({ length: items * tokens }, (_, i) => BigInt((i * 7919 + 13) % vocabulary));
const feeds = { ids: new ort.Tensor('int64', ids, [items, tokens]) };
const took = [];
for (let i = 0; i <= runs; ++i) {
  const start = performance.now();
  await session.run(feeds);
  if (i > 0) took.push(performance.now() - start);  // the first run makes the session's buffers
}
took.sort((a, b) => a - b);
console.log(took[took.length >> 1]);
