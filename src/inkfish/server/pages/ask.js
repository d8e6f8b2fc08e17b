// How pages talk to the server: JSON there and back, errors as exceptions with the server's own words.

export class ServerError extends Error {
  constructor(status, error) {
    super(error?.message ?? `the server answered ${status}`);
    this.status = status;
    this.param = error?.param ?? null;
    this.code = error?.code ?? null;
  }
}

async function checked(response) {
  if (response.ok) return response;
  if (response.status === 401) location.assign("/enter");
  let error = null;
  try { error = (await response.json()).error; } catch { /* no JSON: the status has to do */ }
  throw new ServerError(response.status, error);
}

export async function get(path) {
  return (await checked(await fetch(path))).json();
}

export async function post(path, body, signal) {
  const headers = { "content-type": "application/json" };
  return (await checked(await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal }))).json();
}

export async function put(path, file) {
  const headers = { "content-type": "application/octet-stream" };
  return (await checked(await fetch(path, { method: "PUT", headers, body: file }))).json();
}

// Yields the JSON objects of a stream of server-sent events until [DONE].
export async function* stream(path, body, signal) {
  const headers = { "content-type": "application/json" };
  const request = { method: "POST", headers, body: JSON.stringify({ ...body, stream: true }), signal };
  const response = await checked(await fetch(path, request));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      const events = rest.split("\n\n");
      rest = events.pop();
      for (const event of events) {
        if (!event.startsWith("data: ")) continue;
        const data = event.slice(6);
        if (data === "[DONE]") return;
        const chunk = JSON.parse(data);
        if (chunk.error) throw new ServerError(500, chunk.error);
        yield chunk;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
