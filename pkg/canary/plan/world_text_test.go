package plan

import (
	"fmt"
	"strings"
	"time"
)

// note writes what changed into the trace, one block for a pass in which something did.
func (w *simulation) note(s Snapshot, d Decision) {
	if w.trace == nil {
		return
	}
	z := d.Next
	line := fmt.Sprintf("%s step %d, %d/%d", z.Phase, z.Step, z.Split.Primary, z.Split.Canary)
	if z.FailedChecks > 0 {
		line += fmt.Sprintf(", %d failed", z.FailedChecks)
	}
	if z.Late {
		line += ", late"
	}
	if d.Stalled != "" {
		line += ", stalled: " + d.Stalled
	}
	line += " | " + d.Why
	if len(d.WaitingFor) > 0 {
		line += " | waits for " + join(d.WaitingFor)
	}
	if line == w.last && len(d.Effects) == 0 && len(d.Notices) == 0 {
		return
	}
	w.last = line
	fmt.Fprintf(w.trace, "%s %s\n", clock(s.Now), line)
	if len(d.Effects) > 0 {
		fmt.Fprintf(w.trace, "        do: %s\n", describeEffects(d.Effects))
	}
	for _, n := range d.Notices {
		alert := ""
		if n.Alert {
			alert = " (alert)"
		}
		fmt.Fprintf(w.trace, "        tell: %s %s%s: %s\n", n.Severity, n.Reason, alert, n.Message)
	}
}

func (w *simulation) notef(format string, args ...any) {
	if w.trace == nil {
		return
	}
	text := strings.TrimRight(fmt.Sprintf(format, args...), " ")
	if rest, ok := strings.CutPrefix(text, "        "); ok {
		text = clock(w.now) + "   * " + rest
	}
	fmt.Fprintln(w.trace, text)
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	s := t.Sub(epoch).Round(10 * time.Millisecond)
	return fmt.Sprintf("%02d:%02d:%05.2f", int(s.Hours()), int(s.Minutes())%60, (s % time.Minute).Seconds())
}

func describeEffects(es []Effect) string {
	parts := make([]string, 0, len(es))
	for _, e := range es {
		if v, ok := e.(ApplyServices); ok && !v.Lent {
			parts = append(parts, fmt.Sprintf("ApplyServices{%t %s}", v.Serving, v.Split))
			continue
		}
		parts = append(parts, strings.TrimPrefix(fmt.Sprintf("%T%v", e, e), "plan."))
	}
	return join(parts)
}

// tail returns the last n lines.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
