import { useCallback, useState } from "react";
import type { Problem } from "../lib/problems";

/** A line that appears over the call for a moment, or a problem that stays until it is dismissed. */
export interface Notice {
  id: number;
  text?: string;
  problem?: Problem;
}

const SHOWN_MS = 4000;
const MAX_SHOWN = 3;
let lastId = 0;

export interface Notices {
  shown: readonly Notice[];
  say: (text: string) => void;
  complain: (problem: Problem) => void;
  dismiss: (id: number) => void;
}

export function useNotices(): Notices {
  const [shown, setShown] = useState<readonly Notice[]>([]);
  const dismiss = useCallback((id: number) => setShown((all) => all.filter((notice) => notice.id !== id)), []);
  const add = useCallback((notice: Omit<Notice, "id">) => {
    const id = ++lastId;
    setShown((all) => [...all.slice(1 - MAX_SHOWN), { ...notice, id }]);
    return id;
  }, []);
  const say = useCallback(
    (text: string) => {
      const id = add({ text });
      setTimeout(() => dismiss(id), SHOWN_MS);
    },
    [add, dismiss],
  );
  const complain = useCallback((problem: Problem) => void add({ problem }), [add]);
  return { shown, say, complain, dismiss };
}
