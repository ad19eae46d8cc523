package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Phase is where a Canary stands.
type Phase string

const (
	// PhaseInitializing : clones, Services and routes are being made; the target still serves.
	PhaseInitializing Phase = "Initializing"
	// PhaseInitialized : the primary serves what the target says and the target is held; nothing is to be released.
	PhaseInitialized Phase = "Initialized"
	// PhaseWaiting : a new revision waits for its confirm-rollout gates.
	PhaseWaiting Phase = "Waiting"
	// PhaseProgressing : a new revision is on trial.
	PhaseProgressing Phase = "Progressing"
	// PhaseWaitingPromotion : all steps passed; the promotion waits for its confirm-promotion gates.
	PhaseWaitingPromotion Phase = "WaitingPromotion"
	// PhasePromoting : the primary is being brought to the revision that passed; the canary goes on serving its share.
	PhasePromoting Phase = "Promoting"
	// PhaseFinalising : traffic is being given back to the primary.
	PhaseFinalising Phase = "Finalising"
	// PhaseFrozen : the failed checks reached the threshold and analysis.onFailure is Freeze; a person must decide.
	PhaseFrozen Phase = "Frozen"
	// PhaseBaking : the revision was promoted and goes on being judged.
	PhaseBaking Phase = "Baking"
	// PhaseSucceeded : the revision was promoted.
	PhaseSucceeded Phase = "Succeeded"
	// PhaseRollingBack : traffic is being taken away from the canary.
	PhaseRollingBack Phase = "RollingBack"
	// PhaseFailed : the revision was taken back.
	PhaseFailed Phase = "Failed"
	// PhaseCancelled : the target returned to the promoted revision before the rollout ended.
	PhaseCancelled Phase = "Cancelled"
	// PhaseTerminating : the Canary is being deleted; the target is being restored.
	PhaseTerminating Phase = "Terminating"
)

// Condition types of a Canary.
const (
	// ConditionReady is True when the primary serves the promoted revision and no rollout is going on or stuck.
	ConditionReady = "Ready"
	// ConditionReconciling is True while a rollout, an initialisation or a deletion is going on.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when a person must act: the spec is wrong or something that it names is missing.
	ConditionStalled = "Stalled"
	// ConditionPromoted tells the outcome of the last rollout: True promoted, False taken back, Unknown going on.
	ConditionPromoted = "Promoted"
)

// CanaryStatus is what Siskin observed and decided.
type CanaryStatus struct {
	// observedGeneration is the generation of the spec that this status answers.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// phase is where the Canary stands.
	// +optional
	Phase Phase `json:"phase,omitempty"`
	// message tells in one sentence what goes on or what is waited for.
	// +optional
	Message string `json:"message,omitempty"`
	// canaryWeight is the canary's share of the traffic in percent, as decided.
	// +optional
	CanaryWeight int32 `json:"canaryWeight"`
	// failedChecks counts the failed checks of this rollout.
	// +optional
	FailedChecks int32 `json:"failedChecks"`
	// iterations counts the passed iterations of a blue/green rollout.
	// +optional
	Iterations int32 `json:"iterations,omitempty"`
	// lastTransitionTime is when phase last changed.
	// +optional
	LastTransitionTime *metav1.MicroTime `json:"lastTransitionTime,omitempty"`

	// stable is the promoted revision, which the primary runs.
	// +optional
	Stable *RevisionStatus `json:"stable,omitempty"`
	// canary is the revision on trial, or the last one that was.
	// +optional
	Canary *RevisionStatus `json:"canary,omitempty"`
	// rejected is the revision that was taken back last; it is not tried again until the target changes.
	// +optional
	Rejected string `json:"rejected,omitempty"`
	// split is the traffic as decided and as confirmed.
	// +optional
	Split *SplitStatus `json:"split,omitempty"`
	// step is the step that the rollout is in.
	// +optional
	Step *StepStatus `json:"step,omitempty"`
	// rollout is the running or last rollout.
	// +optional
	Rollout *RolloutStatus `json:"rollout,omitempty"`
	// checks are the results of the last check.
	// +listType=atomic
	// +optional
	Checks []CheckStatus `json:"checks,omitempty"`
	// waitingFor lists what the rollout waits for: gates, pods, routes, data.
	// +listType=atomic
	// +optional
	WaitingFor []string `json:"waitingFor,omitempty"`
	// history lists the last rollouts, newest first.
	// +listType=atomic
	// +optional
	History []HistoryEntry `json:"history,omitempty"`
	// notices are what the decisions that led here have still to tell, oldest first; one that was told goes with the next write. At most 12.
	// +listType=atomic
	// +optional
	Notices []NoticeStatus `json:"notices,omitempty"`
	// lastNotice is the number of the last notice.
	// +optional
	LastNotice int64 `json:"lastNotice,omitempty"`
	// request is the last request of a person that was answered.
	// +optional
	Request *RequestStatus `json:"request,omitempty"`
	// provider is the traffic router that carries the traffic, for a Canary that names none.
	// +optional
	Provider string `json:"provider,omitempty"`
	// replicas is the number of pods that the user asked for the target.
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`
	// drainUntil is when the canary, no longer routed to, may be scaled down.
	// +optional
	DrainUntil *metav1.MicroTime `json:"drainUntil,omitempty"`

	// sessionAffinityCookie is the cookie of the canary's users, "name=value", while both versions have a share.
	// +optional
	SessionAffinityCookie string `json:"sessionAffinityCookie,omitempty"`
	// primarySessionAffinityCookie is the cookie of the primary's users in this step.
	// +optional
	PrimarySessionAffinityCookie string `json:"primarySessionAffinityCookie,omitempty"`
	// previousSessionAffinityCookie is the last cookie of the canary's users, which counts for nothing any more.
	// +optional
	PreviousSessionAffinityCookie string `json:"previousSessionAffinityCookie,omitempty"`

	// conditions: Ready, Reconciling, Stalled (kstatus) and Promoted.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// NoticeStatus is a notice of a transition that people have to be told.
type NoticeStatus struct {
	// number counts the notices of this Canary.
	Number int64 `json:"number"`
	// reason in CamelCase, which is the event's.
	Reason string `json:"reason"`
	// severity is info, warn or error; info if it is missing.
	// +optional
	Severity AlertSeverity `json:"severity,omitempty"`
	// message in one line.
	Message string `json:"message"`
	// alert tells that it goes to the Canary's alerts too.
	// +optional
	Alert bool `json:"alert,omitempty"`
	// rollout that it belongs to.
	// +optional
	Rollout int64 `json:"rollout,omitempty"`
	// revision that it is about.
	// +optional
	Revision string `json:"revision,omitempty"`
	// check that led to it.
	// +optional
	Check *CheckStatus `json:"check,omitempty"`
	// at is when it was decided.
	At metav1.MicroTime `json:"at"`
}

// RequestStatus is a request of a person (annotation siskin.dev/request) and what came of it.
type RequestStatus struct {
	// value of the annotation; the same value is not answered twice.
	Value string `json:"value"`
	// accepted tells whether it was carried out.
	Accepted bool `json:"accepted"`
	// message tells what was done, or why not.
	// +optional
	Message string `json:"message,omitempty"`
	// by is who asked, where an admission policy stamped it.
	// +optional
	By string `json:"by,omitempty"`
	// at is when it was answered.
	// +optional
	At *metav1.MicroTime `json:"at,omitempty"`
}

// RevisionStatus is one revision of the target.
type RevisionStatus struct {
	// revision is the name of the snapshot (a ControllerRevision).
	// +optional
	Revision string `json:"revision,omitempty"`
	// image lists the images of the containers.
	// +optional
	Image string `json:"image,omitempty"`
	// commit is the git revision that it came from, if git-sync applied it.
	// +optional
	Commit string `json:"commit,omitempty"`
	// author of that commit.
	// +optional
	Author string `json:"author,omitempty"`
	// commitMessage is the first line of its message.
	// +optional
	CommitMessage string `json:"commitMessage,omitempty"`
}

// SplitStatus is the traffic in percent.
type SplitStatus struct {
	// primary's share.
	Primary int32 `json:"primary"`
	// canary's share.
	Canary int32 `json:"canary"`
	// mirror is the percentage of the primary's requests that is copied to the canary.
	// +optional
	Mirror int32 `json:"mirror,omitempty"`
	// audience tells that requests which match analysis.match go to the canary.
	// +optional
	Audience bool `json:"audience,omitempty"`
	// evidence tells how far the split is confirmed: None, Written, Accepted, Programmed or Served.
	// +optional
	Evidence string `json:"evidence,omitempty"`
}

// StepStatus is one step of a rollout.
type StepStatus struct {
	// index of the step, from 1; 0 before the first.
	Index int32 `json:"index"`
	// total number of steps.
	Total int32 `json:"total"`
	// summary is "index/total".
	Summary string `json:"summary"`
	// attempt counts the checks of the rollout, from 1.
	// +optional
	Attempt int32 `json:"attempt,omitempty"`
	// startedAt is when the step was decided.
	// +optional
	StartedAt *metav1.MicroTime `json:"startedAt,omitempty"`
	// effectiveAt is when its split was confirmed, if that took longer than a moment; the step's clock runs from then.
	// +optional
	EffectiveAt *metav1.MicroTime `json:"effectiveAt,omitempty"`
	// late tells that the split was not confirmed in time; the step's clock waits for it.
	// +optional
	Late bool `json:"late,omitempty"`
	// halted tells that a gate holds the step.
	// +optional
	Halted bool `json:"halted,omitempty"`
	// paused tells that a person, or a step, paused the rollout until a person resumes it.
	// +optional
	Paused bool `json:"paused,omitempty"`
	// pausedUntil is when the pause of the step ends.
	// +optional
	PausedUntil *metav1.MicroTime `json:"pausedUntil,omitempty"`
	// interval of the step, as it began: an edit of the spec does not change it.
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`
	// endsAt is when its checks are due.
	// +optional
	EndsAt *metav1.MicroTime `json:"endsAt,omitempty"`
	// deadline is when the rollout is rolled back if it is still waiting.
	// +optional
	Deadline *metav1.MicroTime `json:"deadline,omitempty"`
	// overdue tells that the deadline passed where nothing can be taken back, and that this was told.
	// +optional
	Overdue bool `json:"overdue,omitempty"`
}

// RolloutStatus is one attempt to bring one revision to the primary.
type RolloutStatus struct {
	// id counts the rollouts of this Canary.
	ID int64 `json:"id"`
	// startedAt is when it began.
	// +optional
	StartedAt *metav1.MicroTime `json:"startedAt,omitempty"`
	// trafficAt is when the canary first got traffic; queries never reach back before it.
	// +optional
	TrafficAt *metav1.MicroTime `json:"trafficAt,omitempty"`
	// gatesPassed are the gates that agreed, by type and name.
	// +listType=atomic
	// +optional
	GatesPassed []string `json:"gatesPassed,omitempty"`
	// cause tells why it was taken back or cancelled: check, value, limit.
	// +optional
	Cause string `json:"cause,omitempty"`
	// restarts counts how often the steps began anew, because the canary had lost its pods.
	// +optional
	Restarts int32 `json:"restarts,omitempty"`
	// previous is the revision that was promoted before the stable one: where rollback without a revision goes.
	// +optional
	Previous string `json:"previous,omitempty"`
	// outcome is Failed or Cancelled once the rollout is being taken back.
	// +optional
	Outcome Phase `json:"outcome,omitempty"`
	// reverting tells that the primary is being brought back to the stable revision after a promotion that failed.
	// +optional
	Reverting bool `json:"reverting,omitempty"`
	// direct tells that a person asked for this revision without analysis.
	// +optional
	Direct bool `json:"direct,omitempty"`
	// forced tells that a person asked for the promotion before the analysis had ended.
	// +optional
	Forced bool `json:"forced,omitempty"`
	// floor is the number of pods below which the autoscaler must not take the primary while the rollout lasts.
	// +optional
	Floor int32 `json:"floor,omitempty"`
	// bakeUntil is when the bake ends.
	// +optional
	BakeUntil *metav1.MicroTime `json:"bakeUntil,omitempty"`
}

// CheckStatus is the result of one metric or hook.
type CheckStatus struct {
	// name of the metric or webhook; share, for the share of the requests that reached the canary.
	Name string `json:"name"`
	// type is metric, webhook, or routing for that share.
	Type string `json:"type"`
	// value measured.
	// +optional
	Value string `json:"value,omitempty"`
	// limit it was held against.
	// +optional
	Limit string `json:"limit,omitempty"`
	// verdict is pass, fail or inconclusive.
	Verdict string `json:"verdict"`
	// message explains a verdict that is not pass.
	// +optional
	Message string `json:"message,omitempty"`
	// invalid tells that only an edit of the Canary or of what it names helps.
	// +optional
	Invalid bool `json:"invalid,omitempty"`
}

// HistoryEntry is one rollout that ended.
type HistoryEntry struct {
	// revision that was tried.
	Revision string `json:"revision"`
	// image of it.
	// +optional
	Image string `json:"image,omitempty"`
	// commit of it.
	// +optional
	Commit string `json:"commit,omitempty"`
	// author of the commit.
	// +optional
	Author string `json:"author,omitempty"`
	// commitMessage is the first line of the commit's message.
	// +optional
	CommitMessage string `json:"commitMessage,omitempty"`
	// outcome is Succeeded, Failed, Cancelled or Superseded.
	Outcome string `json:"outcome"`
	// cause of a Failed or Cancelled rollout; who asked for one without analysis.
	// +optional
	Cause string `json:"cause,omitempty"`
	// startedAt is when it began.
	// +optional
	StartedAt *metav1.MicroTime `json:"startedAt,omitempty"`
	// endedAt is when it ended.
	EndedAt metav1.MicroTime `json:"endedAt"`
}
