import { useConnectionQualityIndicator } from "@livekit/components-react";
import { ConnectionQuality, type Participant } from "livekit-client";

const MEANING: Record<ConnectionQuality, { bars: number; label: string }> = {
  [ConnectionQuality.Excellent]: { bars: 3, label: "Excellent connection" },
  [ConnectionQuality.Good]: { bars: 2, label: "Good connection" },
  [ConnectionQuality.Poor]: { bars: 1, label: "Poor connection" },
  [ConnectionQuality.Lost]: { bars: 0, label: "Connection lost" },
  [ConnectionQuality.Unknown]: { bars: 0, label: "" },
};

/** Three bars for how well a person's connection does; nothing while that is not known. */
export function QualityBars({ participant }: { participant: Participant }) {
  const { quality } = useConnectionQualityIndicator({ participant });
  const { bars, label } = MEANING[quality];
  if (!label) return null;
  return (
    <span className="quality" data-quality={quality} role="img" aria-label={label} title={label}>
      {[1, 2, 3].map((bar) => (
        <i key={bar} data-on={bar <= bars} />
      ))}
    </span>
  );
}
