package plan

import (
	"fmt"
	"time"
)

// Phase is where a Canary stands; the values are those of the API.
type Phase string

// The phases; doc.go draws them.
const (
	Initializing     Phase = "Initializing"
	Initialized      Phase = "Initialized"
	Waiting          Phase = "Waiting"
	Progressing      Phase = "Progressing"
	WaitingPromotion Phase = "WaitingPromotion"
	Promoting        Phase = "Promoting"
	Finalising       Phase = "Finalising"
	Frozen           Phase = "Frozen"
	Baking           Phase = "Baking"
	Succeeded        Phase = "Succeeded"
	RollingBack      Phase = "RollingBack"
	Failed           Phase = "Failed"
	Cancelled        Phase = "Cancelled"
	Terminating      Phase = "Terminating"
)

// Idle tells whether no rollout is going on.
func (p Phase) Idle() bool {
	return p == Initialized || p == Succeeded || p == Failed || p == Cancelled
}

// ending tells whether what was begun is to be brought to its end whatever becomes of the spec.
func (p Phase) ending() bool {
	return p == Promoting || p == Finalising || p == Baking || p == RollingBack
}

// OnTrial tells whether a candidate is being judged or promoted, so that a rollback would mean something.
func (p Phase) OnTrial() bool {
	return p == Progressing || p == WaitingPromotion || p == Frozen || p == Promoting || p == Finalising
}

// Split is where the traffic goes.
type Split struct {
	// Primary and Canary are shares in percent; they are >= 0 and sum to 100.
	Primary, Canary int32
	// Mirror is the percentage of the primary's requests that is copied to the canary.
	Mirror int32
	// Audience sends the requests that the user selected to the canary, whatever its share is.
	Audience bool
}

// Reaches tells whether any request reaches the canary.
func (p Split) Reaches() bool { return p.Canary > 0 || p.Mirror > 0 || p.Audience }

// exceeds tells whether p lets something reach the canary that most does not.
func (p Split) exceeds(most Split) bool {
	return p.Canary > most.Canary || p.Mirror > most.Mirror || p.Audience && !most.Audience
}

// String is "primary/canary", and what else reaches the canary.
func (p Split) String() string {
	text := fmt.Sprintf("%d/%d", p.Primary, p.Canary)
	if p.Mirror > 0 {
		text += fmt.Sprintf("+mirror %d%%", p.Mirror)
	}
	if p.Audience {
		text += "+audience"
	}
	return text
}

// AllPrimary is the split without a canary.
func AllPrimary() Split { return Split{Primary: 100} }

// ToCanary is the split that gives the canary w percent.
func ToCanary(w int32) Split { return Split{Primary: 100 - w, Canary: w} }

// Snapshot is all that a decision depends on.
type Snapshot struct {
	// Now is the time of the decision.
	Now time.Time
	// Since is when this controller began to watch: when it started, or when it first looked after a suspension, whichever is
	// later. What happened before it was not seen.
	Since time.Time
	// Spec is what the user wants.
	Spec Spec
	// State is what was stored last.
	State State
	// Target is the user's workload.
	Target Target
	// Primary and Canary are the clones.
	Primary, Canary Workload
	// Route is the traffic as the data plane states it, held against State.Split.
	Route Route
	// Unsettled is when this controller last saw that the data plane did not carry the split of the time out, Settled when it first
	// saw that it did after that; zero: never. They are lost with the process, for which Since makes up.
	Unsettled, Settled time.Time
	// Counted tells that the gateway counts the requests to each version, and that nothing but the weights decides which
	// of them get one.
	Counted bool
	// Services tells what the apex Service selects.
	Services Services
	// Answers to questions, by key. A missing key means: not answered yet.
	Answers map[string]Answer
	// Said is what gates that are asked again and again said last, by name, while they are being asked anew.
	Said map[string]string
	// Deleting tells that the Canary is being deleted.
	Deleting bool
	// Scaler is the user's autoscaler.
	Scaler Scaler
	// Request is what a person asks for, as it was written, and RequestedBy who it was, if that is known.
	Request, RequestedBy string
	// Kept are the revisions of which a snapshot exists.
	Kept []string
	// Told are the numbers of the notices of State that this controller has told.
	Told []int64
}

// Scaler is the user's autoscaler as observed.
type Scaler struct {
	// Found tells that the spec names one that exists.
	Found bool
	// Missing tells that the spec names one that does not exist.
	Missing bool
	// OnPrimary tells that it scales the primary.
	OnPrimary bool
	// Floor is the number of pods that it was told not to go below for the rollout; 0 none.
	Floor int32
	// Canary tells that the canary has an autoscaler of its own. CanaryUsers tells that it has one of the user's instead,
	// which stays as it is.
	Canary, CanaryUsers bool
	// Drifted tells that its limits, or the canary's autoscaler, are not what the spec says.
	Drifted bool
	// Restored tells that it scales the target and is as the user wrote it.
	Restored bool
	// Least is the lowest number of pods that it allows: what it does not do by itself, such as coming back from zero, is done for it.
	Least int32
	// Window is how long it looks back before it takes pods away: it goes by the most pods that it wanted meanwhile.
	Window time.Duration
	// Message explains Missing.
	Message string
}

// Target is the user's workload as observed.
type Target struct {
	// Found tells whether it exists.
	Found bool
	// Revision is the name of its present content.
	Revision string
	// Replicas is the number that the user wants: what git wrote, or what was recorded while the target is held.
	Replicas int32
	// Held tells that it is marked as held and at zero, with Replicas recorded.
	Held bool
	// Available is the number of its available pods, whatever they run. Serving counts those of them that are known to run
	// its present content, Old its pods that do not.
	Available, Serving, Old int32
	// Current tells that its controller has seen it as it is.
	Current bool
	// Promoted tells that it has the content that a deletion gives back: that of the promoted revision. It is known only
	// when the Canary is being deleted.
	Promoted bool
	// Paused tells that the user has paused it, so that a new revision waits. Unpaused tells that Siskin has taken the
	// pause off to restore it, and is to put it back.
	Paused, Unpaused bool
	// Message explains why its pods are not available.
	Message string
	// Stored tells that a snapshot of Revision exists.
	Stored bool
	// ChangedAt is when this controller first saw Revision, RestlessAt when the first of a row of changes, none of which
	// was followed by a quiet time.
	ChangedAt, RestlessAt time.Time
	// ConfigOnly tells that Revision differs from one that is known only in what its pods read.
	ConfigOnly bool
	// Apply names what somebody applies to the target and to what it reads, and has not ended to; "": nothing. It is
	// waited for until ApplyUntil.
	Apply      string
	ApplyUntil time.Time
	// Released tells that it is unmarked and has the user's number of replicas.
	Released bool
	// Off tells that the user wants no pods although an autoscaler sizes the app: it has none, and the autoscaler leaves that alone.
	Off bool
}

// Workload is a clone as observed.
type Workload struct {
	// Found tells whether it exists.
	Found bool
	// Revision is the snapshot whose template it has.
	Revision string
	// Replicas it is told to have. A kind without a number has 1, or 0 when it is off.
	Replicas int32
	// Desired counts the pods that it should have, where that is not Replicas (a DaemonSet's nodes).
	Desired int32
	// Pods, Updated and Available count its pods: all, those of the present template, those that are available.
	Pods, Updated, Available int32
	// Endpoints counts the ready endpoints of its Service.
	Endpoints int32
	// Current tells that the counts answer the present template.
	Current bool
	// Drifted tells that somebody changed it.
	Drifted bool
	// Stuck tells that its own controller gave up (ProgressDeadlineExceeded).
	Stuck bool
	// Message explains why it is not ready.
	Message string
}

// Ready tells whether at least percent of the pods are available, all pods run revision, and the Service has endpoints.
func (w Workload) Ready(revision string, percent int32) bool {
	if !w.Found || !w.Current || w.Revision != revision || w.Updated < w.Replicas || w.Pods > w.Updated {
		return false
	}
	if w.Replicas == 0 {
		return true
	}
	size := w.size()
	if w.Updated < size {
		return false
	}
	need := max((size*percent+99)/100, 1)
	return w.Available >= need && w.Endpoints > 0
}

// serving is the number of available pods that are known to be of the present revision: all others may be the available
// ones.
func (w Workload) serving() int32 { return max(w.Available-max(w.Pods-w.Updated, 0), 0) }

// size is the number of pods that it should have.
func (w Workload) size() int32 { return max(w.Replicas, w.Desired) }

// gaveUp tells that the workload's own controller gave up on revision, and not on one before it.
func (w Workload) gaveUp(revision string) bool {
	return w.Stuck && w.Current && w.Replicas > 0 && w.Revision == revision
}

// Route is the traffic as observed.
type Route struct {
	// Known tells whether route objects exist.
	Known bool
	// Current is the split that they state.
	Current Split
	// Confirmed tells that the data plane carries State.Split out, as far as this router can tell.
	Confirmed bool
	// Drifted tells that route objects differ from what is desired although Current is as decided.
	Drifted bool
	// Leaving tells that the objects were given back, so that they are not Known, but that the data plane has not answered for that yet.
	Leaving bool
	// Rejected tells that the data plane refused the route.
	Rejected bool
	// Message explains what is missing.
	Message string
}

// Services as observed.
type Services struct {
	// Complete tells that the Services of primary and canary and the apex exist as desired, but for what the apex selects.
	Complete bool
	// Serving tells that the apex selects a role and no longer the target's pods.
	Serving bool
	// Restored tells that the apex selects the target's pods again.
	Restored bool
	// Misfits are revisions to whose pods the primary's Service, as it is, does not lead; Clashing are those to which none
	// could lead that leads to the pods of the revision that the primary runs, or whose pods come only when all of those
	// are gone.
	Misfits, Clashing []string
	// Judged are the revisions of which that was looked at, if any was: of a revision that a person has just asked for,
	// the next look tells.
	Judged []string
	// Unfit tells that the canary's Service does not lead to the pods of the revision on trial yet.
	Unfit bool
	// Lent tells that the primary's Service selects the canary's pods, Standing that these are its endpoints;
	// StandingSince is when this controller first saw that.
	Lent, Standing bool
	StandingSince  time.Time
}

// Answer to a question.
type Answer struct {
	Verdict Verdict
	// Value and Limit as shown to people.
	Value, Limit string
	// Message explains an answer that is not a pass.
	Message string
	// Invalid tells that only an edit of the spec helps.
	Invalid bool
	// Share answers AskShare, with Verdict Pass: what it means is decided here.
	Share Share
}

// Verdict of one check.
type Verdict string

// The verdicts.
const (
	Pass         Verdict = "pass"
	Fail         Verdict = "fail"
	Inconclusive Verdict = "inconclusive"
)

// State is what is stored between decisions.
type State struct {
	Phase Phase
	// Since is when Phase began.
	Since time.Time
	// Stable is the promoted revision, Candidate the one on trial, Rejected the one that failed last: it is not tried again until
	// the target changes.
	Stable, Candidate, Rejected string
	// Restarts counts how often the steps of the rollout began anew: who was sent to the canary before is not sent there again for that.
	Restarts int32
	// Previous is the revision that was promoted before Stable.
	Previous string
	// Rollout counts rollouts.
	Rollout int64
	// StartedAt is when the rollout began, TrafficAt when its first step did.
	StartedAt, TrafficAt time.Time
	// Step is the index of the step, from 1; 0 while the canary comes up.
	Step int
	// Attempt counts the checks of the rollout, so that no two of them ask the same question.
	Attempt int
	// StepAt is when the step (or the wait) began, CheckAt when its checks are due.
	StepAt, CheckAt time.Time
	// Interval of the step, as it began: no edit of the spec changes it. 0: no step has begun.
	Interval time.Duration
	// Late tells that the split was not confirmed in time: the clock runs from when it is, which EffectiveAt keeps.
	Late        bool
	EffectiveAt time.Time
	// Deadline is when waiting ends.
	Deadline time.Time
	// Overdue tells that Deadline passed where nothing can be taken back; it was told once.
	Overdue bool
	// Halted tells that a gate holds the step; it was told once.
	Halted bool
	// Split that is desired.
	Split Split
	// DrainUntil is when a side that lost its traffic may be scaled down.
	DrainUntil time.Time
	// FailedChecks counts failed checks of the rollout.
	FailedChecks int32
	// Passed are gates and hooks that need not be asked again in this rollout: "type/name".
	Passed []string
	// Cause tells why the rollout is taken back; Outcome is Failed or Cancelled, meaningful in RollingBack.
	Cause   string
	Outcome Phase
	// Reverting tells that the rollback began when the primary had the candidate: it must be brought back before it gets traffic.
	Reverting bool
	// Paused tells that the rollout was paused, by a person or by a step, until a person resumes it; PausedUntil is when the pause of
	// a step ends by itself.
	Paused      bool
	PausedUntil time.Time
	// Forced tells that a person asked for the promotion before the analysis had ended.
	Forced bool
	// Direct tells that a person asked for Candidate without analysis.
	Direct bool
	// BakeUntil is when the bake ends.
	BakeUntil time.Time
	// Floor is the number of pods below which the autoscaler must not take the primary; 0 none.
	Floor int32
	// Request is the last request of a person that was answered.
	Request Reply
	// Replicas is the recorded size.
	Replicas int32
	// Results of the last check.
	Results []Result
	// Untold are the notices of decisions that were stored, the oldest first, until it is known that they were told.
	// LastNotice is the number of the last one.
	Untold     []Notice
	LastNotice int64
}

// Reply to a request of a person.
type Reply struct {
	// Value of the request as it was written; the same value is not answered twice.
	Value, By, Message string
	Accepted           bool
	At                 time.Time
}

// Result is the answer to one question of a check.
type Result struct {
	Name, Kind string
	Answer
}
