import { createAudioAnalyser, type LocalAudioTrack } from "livekit-client";
import { useEffect, useRef } from "react";

/** A bar that moves with the microphone's loudness, so that people see that they can be heard. */
export function LevelMeter({ track }: { track: LocalAudioTrack | undefined }) {
  const bar = useRef<HTMLSpanElement>(null);
  useEffect(() => {
    if (!track) return;
    const { calculateVolume, cleanup } = createAudioAnalyser(track, { smoothingTimeConstant: 0.5 });
    let frame = requestAnimationFrame(function draw() {
      bar.current?.style.setProperty("transform", `scaleX(${Math.min(1, calculateVolume() * 1.6).toFixed(3)})`);
      frame = requestAnimationFrame(draw);
    });
    return () => {
      cancelAnimationFrame(frame);
      void cleanup();
    };
  }, [track]);
  return (
    <span className="level" aria-hidden="true">
      <span ref={bar} />
    </span>
  );
}
