package plan

import (
	"slices"
	"time"
)

const (
	// Settle is how long a data plane may take to confirm a split before that counts as late. It is added to every step, so
	// that the confirmation of a healthy data plane need not be stored.
	Settle = time.Second
	// Patience is how long a check that failed waits for its other answers.
	Patience = time.Second
	// Recheck is how soon an inconclusive check is repeated, at the latest.
	Recheck = 10 * time.Second
	// Relearn is how soon it is looked again whether it is known by now what the data plane can do.
	Relearn = 30 * time.Second
)

// Policy for checks without data.
type Policy string

// The policies.
const (
	PolicyHold Policy = "Hold"
	PolicyFail Policy = "Fail"
	PolicyPass Policy = "Pass"
)

// HookType is the type of a webhook; the values are those of the API.
type HookType string

// The types of hooks that a decision depends on.
const (
	ConfirmRollout         HookType = "confirm-rollout"
	PreRollout             HookType = "pre-rollout"
	RolloutHook            HookType = "rollout"
	ConfirmTrafficIncrease HookType = "confirm-traffic-increase"
	ConfirmPromotion       HookType = "confirm-promotion"
	RollbackHook           HookType = "rollback"
	PostRollout            HookType = "post-rollout"
)

// Hook is a webhook.
type Hook struct {
	Name string
	Type HookType
}

// UntilResumed is the pause that only a person ends.
const UntilResumed time.Duration = -1

// Step of a rollout: what reaches the canary, for at least Interval.
type Step struct {
	Weight   int32
	Interval time.Duration
	// Mirror is the percentage of the primary's requests that is copied to the canary.
	Mirror int32
	// Audience sends the requests that the user selected to the canary, whatever Weight is.
	Audience bool
	// Pause after the checks passed; 0 none, UntilResumed without end.
	Pause time.Duration
	// Unsure tells in one sentence why it is not known whether the data plane can do what the step asks for; "": it can.
	Unsure string
}

// serves tells whether users see more of the canary in this step than by present. Copies of requests are no answers.
func (t Step) serves(present Split) bool {
	return t.Weight > present.Canary || t.Audience && !present.Audience
}

func (t Step) split() Split {
	return Split{Primary: 100 - t.Weight, Canary: t.Weight, Mirror: t.Mirror, Audience: t.Audience}
}

// Size of the canary: a number, or a percentage of the primary.
type Size struct {
	Count   int32
	Percent int32
}

// Of returns the number of canary pods for a primary of n; at least one unless n is zero.
func (z Size) Of(n int32) int32 {
	if z.Percent == 0 {
		return max(z.Count, 1)
	}
	if n == 0 {
		return 0
	}
	return max((n*z.Percent+99)/100, 1)
}

// Spec is what the user wants, with defaults filled in.
type Spec struct {
	// Steps in order; the last one is before the promotion.
	Steps []Step
	// Interval between checks and between questions to gates.
	Interval time.Duration
	// Threshold of failed checks.
	Threshold int32
	// Deadline for everything but gates; GateDeadline for gates.
	Deadline, GateDeadline time.Duration
	// PromotionStep gives the canary's share back in steps of so many percent; 0 all at once.
	PromotionStep int32
	// Freeze leaves everything as it is when the threshold is reached, until a person decides.
	Freeze bool
	// Bake is how long the primary is judged after a promotion, BakeThreshold at how many failed checks it goes back.
	Bake          time.Duration
	BakeThreshold int32
	// NoData is the policy for inconclusive checks.
	NoData Policy
	// Hooks in order; Metrics by name in order.
	Hooks   []Hook
	Metrics []string
	// CanarySize is the canary's size.
	CanarySize Size
	// PrimaryReady and CanaryReady are percentages of pods.
	PrimaryReady, CanaryReady int32
	// Drain is how long a side that lost its traffic keeps running.
	Drain time.Duration
	// Quiet is how long the target, and what its pods read, must not have changed before a revision is asked about or gets
	// traffic.
	Quiet time.Duration
	// CanaryScaled tells that an autoscaler sizes the canary; CanarySize is what it begins with.
	CanaryScaled bool
	// SkipAnalysis promotes as soon as the pods are ready.
	SkipAnalysis bool
	// Suspend stops everything.
	Suspend bool
	// Orphan leaves everything as it is when the Canary is deleted.
	Orphan bool
	// Unmeasurable tells why what the analysis measures cannot be: no rollout begins that would need it. Unchecked tells
	// that this is being found out.
	Unmeasurable string
	Unchecked    bool
	// Invalid tells in one sentence why the spec cannot be used, InvalidReason in CamelCase. Nothing goes forward then; what takes a
	// version back still does.
	Invalid, InvalidReason string
}

// Ladder returns the steps of a canary release: step, 2·step, … up to most.
func Ladder(step, most int32, interval time.Duration) []Step {
	var steps []Step
	for w := step; step > 0 && w < most; w += step {
		steps = append(steps, Step{Weight: w, Interval: interval})
	}
	return append(steps, Step{Weight: most, Interval: interval})
}

// BlueGreen returns n checks without user traffic and one with all of it.
func BlueGreen(n int32, interval time.Duration) []Step {
	steps := make([]Step, 0, n+1)
	for range n {
		steps = append(steps, Step{Interval: interval})
	}
	return append(steps, Step{Weight: 100, Interval: interval})
}

// next returns the index (from 1) of the step after the present one, or 0 after the last. It looks for the first larger weight
// rather than the next index, so that an edit of the steps neither repeats nor skips weight by surprise. A step that repeats the
// weight of the present one counts, as long as the present one is still where it was.
func (z Spec) next(s State) int {
	w := s.Split.Canary
	same := s.Step == 0 || (s.Step <= len(z.Steps) && z.Steps[s.Step-1].Weight == w)
	for i, step := range z.Steps {
		if step.Weight > w || (step.Weight == w && same && i >= s.Step) {
			return i + 1
		}
	}
	if n := len(z.Steps); n > 0 && z.Steps[n-1].serves(s.Split) { // an edit brought an audience, which must see the candidate too
		return 1 + slices.IndexFunc(z.Steps, func(t Step) bool { return t.serves(s.Split) })
	}
	return 0
}

// selects tells whether requests go to the canary by what they are, in any of the steps.
func (z Spec) selects() bool {
	return slices.ContainsFunc(z.Steps, func(t Step) bool { return t.Audience })
}

// present is the step that a rollout is in. After an edit that is the one with the same split, wherever it stands now; no step, if there is none.
func (z Spec) present(s State) Step {
	if i := s.Step; i > 0 && i <= len(z.Steps) && z.Steps[i-1].split() == s.Split {
		return z.Steps[i-1]
	}
	if i := slices.IndexFunc(z.Steps, func(t Step) bool { return t.split() == s.Split }); i >= 0 && s.Step > 0 {
		return z.Steps[i]
	}
	return Step{}
}

func (z Spec) hooks(t HookType) []Hook {
	var out []Hook
	for _, h := range z.Hooks {
		if h.Type == t {
			out = append(out, h)
		}
	}
	return out
}
