import type { ReactNode } from "react";
import type { Problem } from "../lib/problems";
import { Icon } from "./Icon";

/** A problem, what to do about it, and (as children) buttons that do it. */
export function ProblemCard({ problem, children }: { problem: Problem; children?: ReactNode }) {
  return (
    <div className="problem" role="alert">
      <Icon name="warning" />
      <div>
        <strong>{problem.title}</strong>
        <p>{problem.advice}</p>
        {children}
      </div>
    </div>
  );
}
