package report

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
)

// HistoryLimit is how many ended rollouts a status keeps.
const HistoryLimit = 10

// maxMessage bounds texts in status and events, in bytes: hooks and providers may answer at length, and the API server refuses an
// event with a longer note.
const maxMessage = 1024

// Reasons of the conditions that are no phases.
const (
	// ReasonSuspended : the Canary is suspended.
	ReasonSuspended = "Suspended"
	// ReasonPaused : a person or a step holds the rollout, which goes on being judged.
	ReasonPaused = "Paused"
	// ReasonRolledBack : the last rollout was taken back.
	ReasonRolledBack = "RolledBack"
)

// Input is what a status is made of.
type Input struct {
	// Decision that was made, and the Snapshot that it answers.
	Decision plan.Decision
	Snapshot plan.Snapshot
	// Generation of the spec.
	Generation int64
	// Evidence for the split as observed.
	Evidence string
	// Provider that carries the traffic; "" when it is not known.
	Provider string
	// Describe tells what is known of a revision.
	Describe func(revision string) siskinv1.RevisionStatus
	// Cookie and PrimaryCookie are those of the users who are kept at a version, as "name=value"; "" if nobody is.
	Cookie, PrimaryCookie string
}

// Status returns the status after a decision; before is left alone.
func Status(before *siskinv1.CanaryStatus, in Input) siskinv1.CanaryStatus {
	st := *before.DeepCopy()
	d, s := in.Decision, in.Snapshot
	SetState(&st, d.Next, len(s.Spec.Steps))
	st.ObservedGeneration = in.Generation
	if st.Stable != nil && in.Provider != "" {
		st.Provider = in.Provider
	}
	cookies(&st, in)
	st.Message = clip(d.Why)
	st.WaitingFor = nil
	for _, w := range d.WaitingFor {
		st.WaitingFor = append(st.WaitingFor, clip(w))
	}
	if d.Still && d.Stalled == "" && d.Held == "" && len(d.WaitingFor) == 0 && gates(before.WaitingFor) {
		st.Message, st.WaitingFor = before.Message, slices.Clone(before.WaitingFor)
	}
	if st.Request != nil {
		st.Request.Message = clip(st.Request.Message)
	}
	for i := range st.Checks {
		st.Checks[i].Message = clip(st.Checks[i].Message)
	}
	if s.Route.Current == d.Next.Split {
		st.Split.Evidence = in.Evidence
	} else {
		st.Split.Evidence = ""
	}
	describe(st.Stable, in.Describe)
	describe(st.Canary, in.Describe)
	st.Iterations = iterations(d.Next, s.Spec)
	record(&st, before.Canary, d.Next, s)
	conditions(&st, d, s)
	return st
}

// cookies names the cookies as Flagger does. That there were any is what has users drop them later.
func cookies(st *siskinv1.CanaryStatus, in Input) {
	if was := st.SessionAffinityCookie; was != "" && was != in.Cookie {
		st.PreviousSessionAffinityCookie = was
	}
	st.SessionAffinityCookie, st.PrimarySessionAffinityCookie = in.Cookie, in.PrimaryCookie
}

// gates tells whether nothing but gates was waited for.
func gates(waits []string) bool {
	return len(waits) > 0 && !slices.ContainsFunc(waits, func(w string) bool {
		return !strings.HasPrefix(w, string(plan.ConfirmPromotion)) && !strings.HasPrefix(w, string(plan.ConfirmTrafficIncrease))
	})
}

func describe(r *siskinv1.RevisionStatus, f func(string) siskinv1.RevisionStatus) {
	if r == nil || r.Image != "" || f == nil {
		return
	}
	known := f(r.Revision)
	known.Revision = r.Revision
	*r = known
}

// iterations counts the passed checks before the switch of a blue/green rollout.
func iterations(z plan.State, spec plan.Spec) int32 {
	n := len(spec.Steps)
	if n == 0 || !z.Phase.OnTrial() || n > 1 && spec.Steps[n-2].Weight != 0 || n == 1 && !spec.Steps[0].Audience {
		return 0
	}
	return int32(max(min(z.Step, len(spec.Steps))-1, 0)) //nolint:gosec // at most 10001 steps
}

// record adds a rollout that ended, or was replaced by a newer one, to the history; tried is what was known of its revision.
func record(st *siskinv1.CanaryStatus, tried *siskinv1.RevisionStatus, is plan.State, s plan.Snapshot) {
	was := s.State
	replaced := is.Rollout > was.Rollout && underWay(was.Phase)
	ended := !was.Phase.Idle() && is.Phase.Idle() && is.Rollout > 0 && was.Rollout == is.Rollout && is.Phase != plan.Initialized
	if !replaced && !ended {
		return
	}
	e := siskinv1.HistoryEntry{
		Revision: was.Candidate, Outcome: string(is.Phase), Cause: clip(is.Cause), StartedAt: to(was.StartedAt), EndedAt: *to(s.Now),
	}
	switch {
	case replaced && was.Phase == plan.Baking:
		e.Outcome, e.Cause = string(plan.Succeeded), ""
	case replaced:
		e.Outcome, e.Cause = "Superseded", "replaced by "+is.Candidate
	}
	for _, r := range []*siskinv1.RevisionStatus{tried, st.Canary} { // a newer one may have taken its place in status by now
		if r != nil && r.Revision == was.Candidate {
			e.Image, e.Commit, e.Author, e.CommitMessage = r.Image, r.Commit, r.Author, r.CommitMessage
		}
	}
	st.History = append([]siskinv1.HistoryEntry{e}, st.History...)
	st.History = st.History[:min(len(st.History), HistoryLimit)]
}

func underWay(p plan.Phase) bool { return p.OnTrial() || p == plan.Waiting || p == plan.Baking }

// conditions sets Ready, Reconciling and Stalled by the rules of kstatus, and Promoted as Flagger's users know it.
func conditions(st *siskinv1.CanaryStatus, d plan.Decision, s plan.Snapshot) {
	z := d.Next
	reason := reasonOf(d, s)
	ready := metav1.ConditionFalse
	if (z.Phase == plan.Initialized || z.Phase == plan.Succeeded || z.Phase == plan.Cancelled || z.Phase == plan.Baking) && d.Stalled == "" && d.Held == "" {
		ready = metav1.ConditionTrue
	}
	message := st.Message
	if message == "" {
		message = reason
	}
	set := func(kind string, status metav1.ConditionStatus, reason string) {
		meta.SetStatusCondition(&st.Conditions, metav1.Condition{
			Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: st.ObservedGeneration,
			LastTransitionTime: metav1.NewTime(s.Now),
		})
	}
	set(siskinv1.ConditionReady, ready, reason)
	busy := (!z.Phase.Idle() && z.Phase != plan.Baking && !s.Spec.Suspend || d.Held != "") && d.Stalled == ""
	setOrDrop(st, siskinv1.ConditionReconciling, busy, func(k string) { set(k, metav1.ConditionTrue, reason) })
	stalled := d.Stalled != "" || z.Phase == plan.Failed && d.Held == ""
	setOrDrop(st, siskinv1.ConditionStalled, stalled, func(k string) { set(k, metav1.ConditionTrue, reason) })
	if ahead(s.Target, z) { // the promoted revision is not what the target asks for
		set(siskinv1.ConditionPromoted, metav1.ConditionUnknown, reason)
		return
	}
	set(siskinv1.ConditionPromoted, promoted(z), cmp.Or(string(z.Phase), ReasonSuspended))
}

// ahead tells whether the target has a revision whose rollout has not begun, because something holds it: who waits for Promoted after a
// commit waits for that one.
func ahead(t plan.Target, z plan.State) bool {
	return z.Phase.Idle() && promoted(z) == metav1.ConditionTrue && t.Found && t.Revision != "" && z.Stable != "" &&
		t.Revision != z.Stable && t.Revision != z.Rejected
}

// reasonOf is the reason of Ready, Reconciling and Stalled: what a person must act on goes first, then what holds the rollout that would
// begin or go on.
func reasonOf(d plan.Decision, s plan.Snapshot) string {
	z := d.Next
	switch {
	case d.Stalled != "":
		return d.Stalled
	case d.Held != "":
		return d.Held
	case z.Phase == plan.Failed:
		return ReasonRolledBack
	case s.Spec.Suspend:
		return ReasonSuspended
	case z.Phase.OnTrial() && (z.Paused || s.Now.Before(z.PausedUntil)):
		return ReasonPaused
	}
	return string(z.Phase)
}

func setOrDrop(st *siskinv1.CanaryStatus, kind string, on bool, set func(string)) {
	if on {
		set(kind)
		return
	}
	meta.RemoveStatusCondition(&st.Conditions, kind)
}

func promoted(z plan.State) metav1.ConditionStatus {
	switch z.Phase {
	case plan.Initialized, plan.Succeeded, plan.Cancelled, plan.Baking:
		return metav1.ConditionTrue
	case plan.Failed, plan.RollingBack:
		return metav1.ConditionFalse
	case plan.Initializing, plan.Waiting, plan.Progressing, plan.WaitingPromotion, plan.Frozen,
		plan.Promoting, plan.Finalising, plan.Terminating:
		return metav1.ConditionUnknown
	}
	return metav1.ConditionUnknown
}

// Change tells how much two statuses differ.
type Change int

const (
	// Same : nothing worth a write.
	Same Change = iota
	// Told : only that notices were told differs; that write goes along with the next decision.
	Told
	// Text : only texts for people differ; that write may wait for company.
	Text
	// Decision : the decision must be stored.
	Decision
)

// Compare tells how much is differs from was. Evidence and messages are only texts.
func Compare(was, is *siskinv1.CanaryStatus) Change {
	if equality.Semantic.DeepEqual(was, is) {
		return Same
	}
	a, b := decisive(*was), decisive(*is)
	if equality.Semantic.DeepEqual(a, b) {
		switch {
		case was.Message != is.Message || !slices.Equal(was.WaitingFor, is.WaitingFor) || evidence(was) != evidence(is):
			return Text
		case len(was.Notices) != len(is.Notices):
			return Told
		}
		return Same
	}
	return Decision
}

// decisive returns st without its texts. What it changes is not shared with st.
func decisive(st siskinv1.CanaryStatus) siskinv1.CanaryStatus {
	st.Message, st.WaitingFor = "", nil
	st.Provider = "" // goes along with the next decision, as the cookies do
	st.SessionAffinityCookie, st.PrimarySessionAffinityCookie, st.PreviousSessionAffinityCookie = "", "", ""
	st.Notices = nil // a new one has a number of its own: LastNotice
	if st.Split != nil {
		split := *st.Split
		split.Evidence = ""
		st.Split = &split
	}
	st.Conditions = slices.Clone(st.Conditions)
	for i := range st.Conditions {
		st.Conditions[i].Message = ""
	}
	slices.SortFunc(st.Conditions, func(x, y metav1.Condition) int { return strings.Compare(x.Type, y.Type) })
	return st
}

func evidence(st *siskinv1.CanaryStatus) string {
	if st.Split == nil {
		return ""
	}
	return st.Split.Evidence
}

// clip bounds a text to maxMessage bytes, the mark of what is missing included.
func clip(s string) string {
	const more = "…"
	if len(s) <= maxMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxMessage-len(more)], "") + more
}
