// One streamed answer: the events of a chat completion as they arrive.

import { asClient, ApiError } from '../api.js';

/** Yields {text}, {thought}, {usage}, {model}; throws what the gateway says in or before the stream. */
export async function* streamChat(key, body, abort) {
  const response = await asClient('POST', '/v1/chat/completions', key, { ...body, stream: true, stream_options: { include_usage: true } }, abort);
  const id = response.headers.get('x-request-id') || '';
  yield { requestId: id };
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  let ended = false;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith('data:')) continue;
      const data = line.slice(5).trim();
      if (data === '[DONE]') { ended = true; continue; }
      let event;
      try { event = JSON.parse(data); } catch { continue; }
      if (event.error) throw new ApiError(0, event.error, id);
      const delta = event.choices?.[0]?.delta;
      if (delta?.reasoning_content) yield { thought: delta.reasoning_content };
      if (delta?.content) yield { text: delta.content };
      if (event.choices?.[0]?.finish_reason) ended = true;
      if (event.usage) yield { usage: event.usage };
      if (event.model) yield { model: event.model };
    }
  }
  if (!ended) throw new ApiError(0, { message: 'The stream broke off before its end.', code: 'stream_broken' }, id);
}
