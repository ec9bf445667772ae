import { Component, type ReactNode } from "react";
import { ProblemCard } from "./ProblemCard";

/** Stands between a fault of ours and an empty page: says that something broke, and offers the way back in. */
export class Safety extends Component<{ children: ReactNode }, { broken: boolean }> {
  override state = { broken: false };

  static getDerivedStateFromError() {
    return { broken: true };
  }

  override render() {
    if (!this.state.broken) return this.props.children;
    return (
      <main className="interlude">
        <h1>Something broke on this page</h1>
        <ProblemCard problem={{ title: "The page made a mistake", advice: "It is not your fault. Reload to get back into the room." }} />
        <button type="button" className="button primary" onClick={() => location.reload()}>
          Reload
        </button>
      </main>
    );
  }
}
