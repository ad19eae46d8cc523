package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Verb of a request.
type Verb string

// The verbs.
const (
	// Promote skips what is left of the analysis: gates, pauses, steps and checks.
	Promote Verb = "promote"
	// Abort takes the revision on trial back.
	Abort Verb = "abort"
	// Retry tries the revision again that was taken back or is frozen.
	Retry Verb = "retry"
	// Pause holds the rollout where it is; it goes on being judged.
	Pause Verb = "pause"
	// Resume ends a pause, and goes on after a freeze.
	Resume Verb = "resume"
	// Rollback brings a kept revision to the primary at once, without analysis.
	Rollback Verb = "rollback"
)

// verbs are all of them, in the order in which people are told.
func verbs() []Verb { return []Verb{Promote, Abort, Retry, Pause, Resume, Rollback} }

// ParseRequest reads "verb[/revision][@token]". rollback goes to the revision; promote, abort and retry with one are refused when
// another is on trial by then. The error says what is wrong and what to write.
func ParseRequest(value string) (Verb, string, error) {
	text, _, _ := strings.Cut(value, "@")
	name, revision, named := strings.Cut(strings.TrimSpace(text), "/")
	verb := Verb(name)
	switch {
	case !slices.Contains(verbs(), verb):
		return "", "", fmt.Errorf("%q is no request: write one of %s, with @ and a new token each time", name, joinVerbs())
	case named && (verb == Pause || verb == Resume):
		return "", "", fmt.Errorf("%s takes no revision: write %s@<token>", verb, verb)
	case named && revision == "" && verb == Rollback:
		return "", "", errors.New("the revision is missing: write rollback/<revision>@<token>, or rollback@<token> for the previous one")
	case named && revision == "":
		return "", "", fmt.Errorf("the revision is missing: write %s/<revision>@<token>, or %s@<token> for the one on trial", verb, verb)
	}
	return verb, revision, nil
}

func joinVerbs() string {
	var names []string
	for _, v := range verbs() {
		names = append(names, string(v))
	}
	return join(names)
}

// asked carries out the request of a person that was not answered yet; it returns true if that decided where to go.
func asked(s Snapshot, d *Decision) bool {
	value := strings.TrimSpace(s.Request)
	if value == "" || value == s.State.Request.Value {
		return false
	}
	z := &d.Next
	verb, revision, err := ParseRequest(value)
	z.Request = Reply{Value: value, By: s.RequestedBy, At: s.Now}
	if err != nil {
		z.Request.Message = err.Error()
		refuse(s, d, "request")
		return false
	}
	refusal := s.obey(d, verb, revision)
	if refusal != "" {
		z.Request.Message = refusal
		refuse(s, d, string(verb))
		return false
	}
	z.Request.Accepted, z.Request.Message = true, d.Why // and what it led to is told
	d.wake(time.Millisecond)
	return true
}

func refuse(s Snapshot, d *Decision, verb string) {
	d.notify(Notice{
		Reason: "RequestRefused", Severity: Warning, Revision: d.Next.Candidate,
		Message: fmt.Sprintf("%s%s refused: %s", verb, s.by(), d.Next.Request.Message),
	})
}

// by names who asked, if that is known.
func (s Snapshot) by() string {
	if s.RequestedBy == "" {
		return ""
	}
	return " by " + s.RequestedBy
}

// person names who asked in a cause.
func (s Snapshot) person() string {
	if s.RequestedBy == "" {
		return "a person"
	}
	return s.RequestedBy
}

// obey carries a request out, or says why it cannot be.
func (s Snapshot) obey(d *Decision, verb Verb, revision string) (refusal string) {
	if about := s.about(verb); verb != Rollback && revision != "" && revision != about {
		return fmt.Sprintf("it is about revision %s, but it is %s's turn", revision, about)
	}
	if refusal = s.forbidden(verb); refusal != "" {
		return refusal
	}
	switch verb {
	case Promote:
		return s.forcePromotion(d)
	case Abort:
		return s.abort(d)
	case Retry:
		return s.retry(d)
	case Pause:
		return s.pause(d)
	case Resume:
		return s.resume(d)
	case Rollback:
	}
	return s.goBackTo(d, revision)
}

// forbidden says why nothing of the kind can be asked for now.
func (s Snapshot) forbidden(verb Verb) string {
	why := s.spent(s.State)
	switch {
	case s.Spec.Invalid != "" && (verb == Promote || verb == Retry || verb == Resume):
		return "nothing goes on while the spec cannot be used: " + s.Spec.Invalid
	case s.Target.Paused && (s.State.Phase.Idle() || s.State.Phase == Baking) && s.Target.Revision != s.State.Stable && (verb == Promote || verb == Retry):
		return "the target is paused (spec.paused): take the pause off it, kubectl rollout resume, and ask again"
	case why != "" && s.State.Phase.OnTrial() && (verb == Pause || verb == Resume): // the threshold comes first
		return "the rollout is being taken back: " + why
	}
	return ""
}

// about is the revision that a request is about: the one on trial, or else the target's.
func (s Snapshot) about(verb Verb) string {
	z := s.State
	if verb != Abort && (z.Phase.Idle() || z.Phase == Baking) {
		return s.Target.Revision
	}
	return z.Candidate
}

// forcePromotion promotes the candidate as soon as its pods are ready. With no rollout going on it brings the target's revision to
// the primary, also one that was taken back, and also while only the canary can serve.
func (s Snapshot) forcePromotion(d *Decision) string {
	z := &d.Next
	switch z.Phase {
	case Waiting, Progressing, WaitingPromotion, Frozen:
		if s.Target.Found && s.Target.Revision != z.Candidate { // which of them was meant?
			return fmt.Sprintf("revision %s takes the place of %s: ask again when it is on trial", s.Target.Revision, z.Candidate)
		}
		z.Forced, z.Paused, z.Halted, z.PausedUntil = true, false, false, time.Time{}
		d.enter(Progressing, s.Now)
		z.StepAt, z.Deadline, z.Floor = s.Now, s.Now.Add(s.Spec.Deadline), s.floor()
		d.because("%s asked for the promotion of revision %s: what is left of the analysis is skipped", s.person(), z.Candidate)
		d.notify(Notice{Reason: "PromotionRequested", Severity: Warning, Alert: true, Revision: z.Candidate, Message: d.Why})
		d.wakeAt(s.Now, z.Deadline)
		return ""
	case Initialized, Succeeded, Failed, Cancelled, Baking:
		if !s.Target.Found || s.Target.Revision == z.Stable {
			return "there is nothing to promote: the target is the promoted revision"
		}
		direct(s, d, s.Target.Revision, fmt.Sprintf("%s asked for the promotion of revision %s without analysis", s.person(), s.Target.Revision))
		return ""
	case Initializing, Promoting, Finalising, RollingBack, Terminating:
	}
	return fmt.Sprintf("nothing can be promoted in phase %s", z.Phase)
}

func (s Snapshot) abort(d *Decision) string {
	z := &d.Next
	if !z.Phase.OnTrial() && z.Phase != Waiting && z.Phase != Baking {
		return "no rollout is going on"
	}
	if z.Phase == Baking && !s.mayReturn(*z) {
		return fmt.Sprintf("the snapshot of the previous revision %s is gone: commit a fix", z.Previous)
	}
	rollback(s, d, Failed, fmt.Sprintf("%s aborted it", s.person()), nil)
	return ""
}

// retry begins anew with a revision that was taken back, or that is frozen.
func (s Snapshot) retry(d *Decision) string {
	z := &d.Next
	rev := s.Target.Revision
	switch {
	case z.Phase == Frozen && s.Target.Found && rev == z.Candidate:
		if z.Split != AllPrimary() && !s.mayLeaveCanary(*z) { // beginning anew gives all traffic to the primary
			return fmt.Sprintf("the primary does not serve (%s), and what reaches the canary would be lost: resume or promote, or ask again when it serves",
				s.Primary.explain(z.Stable))
		}
	case !z.Phase.Idle():
		return fmt.Sprintf("nothing can be tried again in phase %s", z.Phase)
	case !s.Target.Found || rev == z.Stable:
		return "there is nothing to try again: the target is the promoted revision"
	case z.Split != AllPrimary() && !s.mayLeaveCanary(*z):
		return "the primary does not serve yet: promote brings the target's revision to it without analysis"
	case z.Replicas == 0:
		return "the target has no replicas"
	case s.Canary.gaveUp(rev): // it would give up again at once
		return "the pods of the last attempt are still being taken away: ask again in a moment"
	}
	begin(s, d, rev)
	return ""
}

func (s Snapshot) pause(d *Decision) string {
	z := &d.Next
	switch {
	case z.Phase != Progressing && z.Phase != WaitingPromotion || z.Forced:
		return fmt.Sprintf("nothing can be paused in phase %s; spec.suspend stops everything", z.Phase)
	case z.Paused:
		return "the rollout is paused already"
	}
	s.hold(d)
	d.because("%s paused the rollout of revision %s at %s", s.person(), z.Candidate, z.Split)
	d.notify(Notice{Reason: "Paused", Severity: Warning, Alert: true, Revision: z.Candidate, Message: d.Why + "; it goes on being judged"})
	return ""
}

// resume ends every pause that has begun, and takes a frozen rollout on from where it stands, with no failed checks counted. A pause
// of the step that is yet to begin is not skipped.
func (s Snapshot) resume(d *Decision) string {
	z := &d.Next
	running := s.Now.Before(z.PausedUntil)
	switch {
	case z.Phase == Frozen:
		d.enter(Progressing, s.Now)
		z.FailedChecks, z.Attempt, z.CheckAt = 0, z.Attempt+1, s.Now.Add(Settle+s.interval(s.State))
		z.StepAt, z.Cause = s.Now, ""
	case z.Paused, running:
		z.Paused = false
		if running {
			s.endPause(z)
		}
	default:
		return "nothing is paused"
	}
	z.Deadline = latest(z.CheckAt, s.Now).Add(s.Spec.Deadline)
	d.because("%s resumed the rollout of revision %s", s.person(), z.Candidate)
	d.notify(Notice{Reason: "Resumed", Severity: Info, Alert: true, Revision: z.Candidate, Message: d.Why})
	return ""
}

// goBackTo brings a kept revision to the primary; without a name it takes the revision on trial back, or returns to the one before.
func (s Snapshot) goBackTo(d *Decision, rev string) string {
	z := &d.Next
	onTrial := z.Phase.OnTrial() || z.Phase == Waiting
	switch {
	case onTrial && (rev == "" || rev == z.Stable), z.Phase == Baking && (rev == "" || rev == z.Previous):
		return s.abort(d)
	case z.Phase == Promoting, z.Phase == Finalising, z.Phase == RollingBack, z.Phase == Initializing, z.Phase == Terminating:
		return fmt.Sprintf("it is not possible in phase %s: abort the rollout, or wait for its end", z.Phase)
	}
	switch {
	case rev != "":
	case z.Split != AllPrimary(): // what was taken back goes on serving
		rev = z.Stable
	default:
		rev = z.Previous
	}
	switch {
	case rev == "":
		return "there is no previous revision: write rollback/<revision>@<token>"
	case rev == z.Stable && z.Split == AllPrimary():
		return fmt.Sprintf("the primary has revision %s already", rev)
	case !slices.Contains(s.Kept, rev):
		return fmt.Sprintf("revision %s is not kept: choose one of %s", rev, join(s.Kept))
	}
	direct(s, d, rev, fmt.Sprintf("%s asked for revision %s", s.person(), rev))
	return ""
}

// direct begins a rollout without analysis: the primary is brought to rev at once. What the target says now is not released until it
// changes, unless it is rev.
func direct(s Snapshot, d *Decision, rev, why string) {
	z := &d.Next
	z.Rollout++
	z.Candidate, z.StartedAt, z.StepAt, z.CheckAt = rev, s.Now, s.Now, time.Time{}
	z.Rejected = ""
	if s.Target.Found && s.Target.Revision != rev {
		z.Rejected = s.Target.Revision
	}
	leaveCanary(s, d)
	*z = z.fresh()
	z.Direct, z.Cause, z.Floor = true, why, s.floor()
	z.Deadline = s.Now.Add(s.Spec.Deadline)
	d.enter(Promoting, s.Now)
	d.because("%s: the primary is being brought to it", why)
	d.notify(Notice{Reason: "DirectRollout", Severity: Warning, Alert: true, Revision: rev, Message: d.Why})
	d.wakeAt(s.Now, z.Deadline)
}
