// Runs in the audio thread: posts the wall-clock time at which a given frequency begins to sound.

const THRESHOLD = 0.02;

class Onsets extends AudioWorkletProcessor {
  constructor({ processorOptions: { hz } }) {
    super();
    this.step = (2 * Math.PI * hz) / sampleRate;
    this.sounding = true;
  }

  process([input]) {
    const samples = input[0];
    if (!samples) return true;
    let [real, imaginary] = [0, 0];
    samples.forEach((sample, index) => {
      real += sample * Math.cos(this.step * index);
      imaginary += sample * Math.sin(this.step * index);
    });
    const sounding = Math.hypot(real, imaginary) / samples.length > THRESHOLD;
    if (sounding && !this.sounding) this.port.postMessage(Date.now());
    this.sounding = sounding;
    return true;
  }
}

registerProcessor("onsets", Onsets);
