// Reads a text aloud by the browser's own speech, with a voice for each character of a screenplay or a dialogue.

// Yields { who, text }: a line "NAME: words" speaks, as does what stands under a NAME in capitals; the rest is told.
export function parts(text) {
  const found = [];
  let who = "";
  for (const line of text.split("\n")) {
    const said = /^\s*(\p{Lu}[\p{L}\p{N} .'’-]{0,30}):\s*(.+)$/u.exec(line);
    const cue = /^\s*(\p{Lu}[\p{Lu}\p{N} .'’-]{1,30})(?:\s*\(.*\))?\s*$/u.exec(line);
    if (said) { found.push({ who: said[1].trim(), text: said[2] }); who = ""; }
    else if (cue && !/^(INT|EXT|FADE|CUT)\b/.test(cue[1])) who = cue[1].trim();
    else if (!line.trim()) who = "";
    else found.push({ who, text: line.trim() });
  }
  return found;
}

export function voiceFor(who, cast, voices) {
  if (!cast.has(who)) cast.set(who, cast.size);
  const number = cast.get(who);
  return { voice: voices.length ? voices[number % voices.length] : null, pitch: 1 + ((number * 0.37) % 0.8) - 0.3 };
}

export class Reader {
  constructor(ended) {
    this.ended = ended;
    this.reading = false;
  }

  read(text) {
    this.stop();
    const language = document.documentElement.lang;
    const voices = speechSynthesis.getVoices().filter((voice) => voice.localService && voice.lang.startsWith(language));
    const cast = new Map([["", 0]]);
    const utterances = parts(text).map(({ who, text: words }) => Object.assign(new SpeechSynthesisUtterance(words), voiceFor(who, cast, voices)));
    if (!utterances.length) return;
    this.reading = true;
    for (const utterance of utterances) utterance.onerror = () => this.stop();
    utterances.at(-1).onend = () => this.stop();
    for (const utterance of utterances) speechSynthesis.speak(utterance);
  }

  stop() {
    const was = this.reading;
    this.reading = false;
    speechSynthesis.cancel();
    if (was) this.ended();
  }
}
