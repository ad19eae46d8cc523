package plan

import (
	"fmt"
	"strings"
)

func join(parts []string) string { return strings.Join(parts, ", ") }

func names(hooks []Hook) string {
	parts := make([]string, 0, len(hooks))
	for _, h := range hooks {
		parts = append(parts, h.Name)
	}
	return join(parts)
}

// share says in words what reaches the canary.
func share(p Split) string {
	var parts []string
	if p.Canary > 0 {
		parts = append(parts, fmt.Sprintf("%d%% of the traffic", p.Canary))
	}
	if p.Audience {
		parts = append(parts, "the requests that match")
	}
	if p.Mirror > 0 {
		parts = append(parts, fmt.Sprintf("copies of %d%% of the requests", p.Mirror))
	}
	if len(parts) == 0 {
		return "no traffic yet"
	}
	return strings.Join(parts, " and ")
}

// describe says what a check found: name, value, limit, reason.
func describe(r Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", r.Kind, r.Name)
	if r.Value != "" {
		fmt.Fprintf(&b, " is %s", r.Value)
	}
	if r.Limit != "" {
		fmt.Fprintf(&b, " (limit %s)", r.Limit)
	}
	if r.Message != "" {
		fmt.Fprintf(&b, ": %s", r.Message)
	}
	return b.String()
}

// askedFor says that a rollback hook said yes, and what it said.
func askedFor(r Result) string {
	text := fmt.Sprintf("rollback hook %s asked for it", r.Name)
	if r.Message != "" {
		text += ": " + r.Message
	}
	return text
}

// explain says why the workload, which is not ready for revision, is not.
func (w Workload) explain(revision string) string {
	switch {
	case !w.Found:
		return "not created yet"
	case w.Revision != revision:
		return fmt.Sprintf("still has revision %s", w.Revision)
	case w.Replicas == 0:
		return "it is scaled to zero"
	case !w.Current:
		return "its controller has not seen the change yet"
	case w.Updated < w.size() || w.Available < w.size():
		return strings.TrimSpace(fmt.Sprintf("%d of %d pods are available %s", w.serving(), w.size(), w.Message))
	case w.Pods > w.Updated:
		return fmt.Sprintf("%d old pods are still there", w.Pods-w.Updated)
	case w.Endpoints == 0:
		return "its Service has no ready endpoint yet"
	}
	return "its size is being changed"
}
