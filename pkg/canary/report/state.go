// Package report translates between the plan's state and the Canary's status, and makes conditions, events and notices of
// decisions. It is pure.
package report

import (
	"cmp"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
)

// State reads the plan's state from a status. State(SetState(x)) is x, for times of whole microseconds.
func State(st *siskinv1.CanaryStatus) plan.State {
	z := plan.State{
		Phase: plan.Phase(st.Phase), Rejected: st.Rejected, FailedChecks: st.FailedChecks, DrainUntil: from(st.DrainUntil),
	}
	if st.LastTransitionTime != nil {
		z.Since = st.LastTransitionTime.UTC()
	}
	if st.Stable != nil {
		z.Stable = st.Stable.Revision
	}
	if st.Canary != nil {
		z.Candidate = st.Canary.Revision
	}
	if st.Split != nil {
		z.Split = plan.Split{
			Primary: st.Split.Primary, Canary: st.Split.Canary, Mirror: st.Split.Mirror, Audience: st.Split.Audience,
		}
	}
	if st.Replicas != nil {
		z.Replicas = *st.Replicas
	}
	if p := st.Step; p != nil {
		z.Step, z.Attempt, z.Late, z.Halted, z.Overdue = int(p.Index), int(p.Attempt), p.Late, p.Halted, p.Overdue
		z.StepAt, z.CheckAt, z.EffectiveAt, z.Deadline = from(p.StartedAt), from(p.EndsAt), from(p.EffectiveAt), from(p.Deadline)
		if p.Interval != nil {
			z.Interval = p.Interval.Duration
		}
		z.Paused, z.PausedUntil = p.Paused, from(p.PausedUntil)
	}
	if r := st.Rollout; r != nil {
		z.Rollout, z.StartedAt, z.TrafficAt = r.ID, from(r.StartedAt), from(r.TrafficAt)
		z.Passed, z.Cause, z.Outcome, z.Reverting = r.GatesPassed, r.Cause, plan.Phase(r.Outcome), r.Reverting
		z.Previous, z.Restarts = r.Previous, r.Restarts
		z.Direct, z.Forced, z.Floor, z.BakeUntil = r.Direct, r.Forced, r.Floor, from(r.BakeUntil)
	}
	if r := st.Request; r != nil {
		z.Request = plan.Reply{Value: r.Value, By: r.By, Message: r.Message, Accepted: r.Accepted, At: from(r.At)}
	}
	for _, c := range st.Checks {
		z.Results = append(z.Results, result(c))
	}
	z.Untold, z.LastNotice = untold(st.Notices), st.LastNotice
	return z
}

func result(c siskinv1.CheckStatus) plan.Result {
	return plan.Result{Name: c.Name, Kind: c.Type, Answer: plan.Answer{
		Verdict: plan.Verdict(c.Verdict), Value: c.Value, Limit: c.Limit, Message: c.Message, Invalid: c.Invalid,
	}}
}

func check(r plan.Result) siskinv1.CheckStatus {
	return siskinv1.CheckStatus{
		Name: r.Name, Type: r.Kind, Value: r.Value, Limit: r.Limit, Verdict: string(r.Verdict), Message: r.Message, Invalid: r.Invalid,
	}
}

// untold reads the notices that are still to be told.
func untold(stored []siskinv1.NoticeStatus) []plan.Notice {
	var out []plan.Notice
	for _, n := range stored {
		notice := plan.Notice{
			Number: n.Number, Rollout: n.Rollout, At: n.At.UTC(), Reason: n.Reason, Severity: cmp.Or(plan.Severity(n.Severity), plan.Info),
			Message: n.Message, Alert: n.Alert, Revision: n.Revision,
		}
		if n.Check != nil {
			r := result(*n.Check)
			notice.Result = &r
		}
		out = append(out, notice)
	}
	return out
}

// toTell writes the notices that are still to be told. What a check measured is kept, what it said is in the message.
func toTell(notices []plan.Notice) []siskinv1.NoticeStatus {
	var out []siskinv1.NoticeStatus
	for _, n := range notices {
		st := siskinv1.NoticeStatus{
			Number: n.Number, Rollout: n.Rollout, At: metav1.NewMicroTime(n.At), Reason: n.Reason, Message: clip(n.Message), Alert: n.Alert,
			Revision: n.Revision,
		}
		if n.Severity != plan.Info {
			st.Severity = siskinv1.AlertSeverity(n.Severity)
		}
		if n.Result != nil {
			c := check(*n.Result)
			c.Message = ""
			st.Check = &c
		}
		out = append(out, st)
	}
	return out
}

// SetState writes the plan's state into a status; total is the number of steps.
func SetState(st *siskinv1.CanaryStatus, z plan.State, total int) {
	since := metav1.NewMicroTime(z.Since)
	st.Phase, st.LastTransitionTime = siskinv1.Phase(z.Phase), &since
	if z.Since.IsZero() {
		st.LastTransitionTime = nil
	}
	st.Rejected, st.FailedChecks, st.DrainUntil = z.Rejected, z.FailedChecks, to(z.DrainUntil)
	st.CanaryWeight, st.Replicas = z.Split.Canary, &z.Replicas
	st.Stable, st.Canary = named(st.Stable, z.Stable), named(st.Canary, z.Candidate)
	split := siskinv1.SplitStatus{
		Primary: z.Split.Primary, Canary: z.Split.Canary, Mirror: z.Split.Mirror, Audience: z.Split.Audience,
	}
	if st.Split != nil {
		split.Evidence = st.Split.Evidence
	}
	st.Split = &split
	step := &siskinv1.StepStatus{
		Index: int32(z.Step), Total: int32(total), Summary: fmt.Sprintf("%d/%d", z.Step, total), //nolint:gosec // at most 10001 steps
		Attempt: int32(z.Attempt), Late: z.Late, Halted: z.Halted, Overdue: z.Overdue, //nolint:gosec // bounded by the deadline
		Paused: z.Paused, PausedUntil: to(z.PausedUntil),
		StartedAt: to(z.StepAt), EndsAt: to(z.CheckAt), EffectiveAt: to(z.EffectiveAt), Deadline: to(z.Deadline),
	}
	if z.Interval > 0 {
		step.Interval = &metav1.Duration{Duration: z.Interval}
	}
	st.Step = step
	st.Rollout = nil
	if z.Rollout > 0 {
		st.Rollout = &siskinv1.RolloutStatus{
			ID: z.Rollout, StartedAt: to(z.StartedAt), TrafficAt: to(z.TrafficAt), GatesPassed: z.Passed,
			Cause: z.Cause, Outcome: siskinv1.Phase(z.Outcome), Reverting: z.Reverting, Previous: z.Previous,
			Restarts: z.Restarts, Direct: z.Direct, Forced: z.Forced, Floor: z.Floor, BakeUntil: to(z.BakeUntil),
		}
	}
	st.Request = nil
	if r := z.Request; r.Value != "" {
		st.Request = &siskinv1.RequestStatus{Value: r.Value, By: r.By, Message: r.Message, Accepted: r.Accepted, At: to(r.At)}
	}
	st.Checks = nil
	for _, r := range z.Results {
		st.Checks = append(st.Checks, check(r))
	}
	st.Notices, st.LastNotice = toTell(z.Untold), z.LastNotice
}

// named keeps what is known of a revision while its name is the same.
func named(have *siskinv1.RevisionStatus, name string) *siskinv1.RevisionStatus {
	switch {
	case name == "":
		return nil
	case have != nil && have.Revision == name:
		return have
	}
	return &siskinv1.RevisionStatus{Revision: name}
}

func from(t *metav1.MicroTime) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

func to(t time.Time) *metav1.MicroTime {
	if t.IsZero() {
		return nil
	}
	m := metav1.NewMicroTime(t)
	return &m
}
