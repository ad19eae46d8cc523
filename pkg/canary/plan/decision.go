package plan

import (
	"fmt"
	"slices"
	"time"
)

// Decision is what to do.
type Decision struct {
	// Next is stored before any effect is carried out.
	Next State
	// Effects are ordered and idempotent; one that fails keeps only Abandon and Finish from being tried.
	Effects []Effect
	// Notices are those of this decision. They are told after Next, which has them, is stored and the effects are done.
	Notices []Notice
	// Dropped counts the notices that Next has no room for: a crash would lose them.
	Dropped int
	// Why is one sentence for people.
	Why string
	// WaitingFor lists what is waited for.
	WaitingFor []string
	// Stalled is a CamelCase reason when a person must act.
	Stalled string
	// Still tells that nobody was asked anew: the gate that holds the rollout is asked again later, and what it said last stays in the texts.
	Still bool
	// Held is a CamelCase reason when a rollout waits for something that may come by itself.
	Held string
	// Wake is when to look again; zero means only when something changes.
	Wake time.Duration
}

// Severity of a notice.
type Severity string

// The severities.
const (
	Info    Severity = "info"
	Warning Severity = "warn"
	Error   Severity = "error"
)

// ReasonRoutingMismatch : the share of the requests that reached the canary is not the one wanted.
const ReasonRoutingMismatch = "RoutingMismatch"

// Effect is one idempotent change of the world.
type Effect interface{ effect() }

// The effects.
type (
	// TakeSnapshot stores the target's present content as Revision.
	TakeSnapshot struct{ Revision string }
	// ApplyPrimary makes the primary run Revision with Replicas.
	ApplyPrimary struct {
		Revision string
		Replicas int32
	}
	// ApplyCanary makes the canary run Revision with Replicas.
	ApplyCanary struct {
		Revision string
		Replicas int32
	}
	// ApplyServices makes the Services; Serving tells that the apex leaves the target's pods for the role of Split, Lent
	// that what leads to the primary leads to the canary's pods.
	ApplyServices struct {
		Serving bool
		Split   Split
		Lent    bool
	}
	// ApplySplit makes the route state Split.
	ApplySplit struct{ Split Split }
	// HoldTarget marks the target, records Replicas and scales it to zero.
	HoldTarget struct{ Replicas int32 }
	// RestoreTarget gives the target the content of Revision, as its snapshot has it, and takes a pause off it. Its size
	// stays.
	RestoreTarget struct{ Revision string }
	// PauseTarget puts the pause back that RestoreTarget has taken off.
	PauseTarget struct{}
	// ReleaseTarget scales the target to Replicas and takes the mark away.
	ReleaseTarget struct{ Replicas int32 }
	// RestoreServices gives Services and routes back.
	RestoreServices struct{}
	// ApplyScaler points the user's autoscaler at the primary and keeps it from going below Floor; Canary tells that the canary is on
	// trial and has its own autoscaler, if the spec asks for one.
	ApplyScaler struct {
		Floor  int32
		Canary bool
	}
	// RestoreScaler gives the user's autoscaler back to the target.
	RestoreScaler struct{}
	// Abandon leaves all objects without an owner, so that they outlive the Canary.
	Abandon struct{}
	// Finish lets the Canary go.
	Finish struct{}
)

func (TakeSnapshot) effect()    {}
func (ApplyPrimary) effect()    {}
func (ApplyCanary) effect()     {}
func (ApplyServices) effect()   {}
func (ApplySplit) effect()      {}
func (HoldTarget) effect()      {}
func (RestoreTarget) effect()   {}
func (PauseTarget) effect()     {}
func (ReleaseTarget) effect()   {}
func (RestoreServices) effect() {}
func (ApplyScaler) effect()     {}
func (RestoreScaler) effect()   {}
func (Abandon) effect()         {}
func (Finish) effect()          {}

// enter moves to another phase.
func (d *Decision) enter(p Phase, now time.Time) {
	if d.Next.Phase != p {
		d.Next.Phase, d.Next.Since = p, now
	}
}

// wake asks to be looked at again after w, or earlier if somebody else asked so.
func (d *Decision) wake(w time.Duration) {
	w = max(w, time.Millisecond)
	if d.Wake == 0 || w < d.Wake {
		d.Wake = w
	}
}

// wakeAt asks to be looked at again at t, unless t has passed.
func (d *Decision) wakeAt(now, t time.Time) {
	if t.After(now) {
		d.wake(t.Sub(now))
	}
}

// wait says what is waited for.
func (d *Decision) wait(what string, args ...any) {
	d.WaitingFor = append(d.WaitingFor, fmt.Sprintf(what, args...))
}

func (d *Decision) because(why string, args ...any) { d.Why = fmt.Sprintf(why, args...) }

func (d *Decision) notify(n Notice) { d.Notices = append(d.Notices, n) }

func (d *Decision) pass(qs ...Question) {
	for _, q := range qs {
		if name := passedName(q); !slices.Contains(d.Next.Passed, name) {
			d.Next.Passed = append(slices.Clone(d.Next.Passed), name)
		}
	}
}
