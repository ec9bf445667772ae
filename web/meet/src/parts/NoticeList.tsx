import type { Notices } from "../hooks/useNotices";
import { Icon } from "./Icon";
import { ProblemCard } from "./ProblemCard";

export function NoticeList({ notices: { shown, dismiss } }: { notices: Notices }) {
  return (
    <div className="notices" aria-live="polite">
      {shown.map(({ id, text, problem }) =>
        problem ? (
          <div key={id} className="notice-problem">
            <ProblemCard problem={problem} />
            <button type="button" className="icon-button" aria-label="Dismiss" onClick={() => dismiss(id)}>
              <Icon name="close" size={16} />
            </button>
          </div>
        ) : (
          <p key={id}>{text}</p>
        ),
      )}
    </div>
  );
}
